// im2col and its adjoint: windows of images as the columns of one matrix, and back.
//
// The matrix has a row for each tap of a channel, (c, r, s), and a column for each window, (n, h, w).
// Both kernels make one result a thread: neighbouring threads write neighbouring numbers, and the
// adjoint gathers what a pixel has given to its windows, so that no additions meet.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up) and `count_t`.

// x (batch, channels, height, width); columns (channels kh kw, batch, out_height, out_width)
extern "C" __global__ void mdl_im2col(
    const real* __restrict__ x, real* __restrict__ columns, int batch, int channels, int height,
    int width, int out_height, int out_width, int kh, int kw, int stride_y, int stride_x, int top,
    int left, int dilation_y, int dilation_x, count_t count) {
  EACH(i, count) {
    const int w = i % out_width;
    count_t rest = i / out_width;
    const int h = rest % out_height;
    rest /= out_height;
    const int n = rest % batch;
    rest /= batch;
    const int s = rest % kw, r = rest / kw % kh, c = rest / kw / kh;
    const int row = h * stride_y - top + r * dilation_y;
    const int column = w * stride_x - left + s * dilation_x;
    const bool inside = row >= 0 && row < height && column >= 0 && column < width;
    const long long at = (((long long)n * channels + c) * height + row) * width + column;
    columns[i] = inside ? x[at] : (real)0;
  }
}

// The adjoint: x[n, c, row, column] is the sum of all columns that mdl_im2col filled from there.
extern "C" __global__ void mdl_col2im(
    const real* __restrict__ columns, real* __restrict__ x, int batch, int channels, int height,
    int width, int out_height, int out_width, int kh, int kw, int stride_y, int stride_x, int top,
    int left, int dilation_y, int dilation_x, count_t count) {
  EACH(i, count) {
    const int column = i % width;
    count_t rest = i / width;
    const int row = rest % height;
    rest /= height;
    const int c = rest % channels, n = rest / channels;
    wide sum = 0;
    for (int r = 0; r < kh; r++) {
      const int down = row + top - r * dilation_y, h = down / stride_y;
      if (down < 0 || down % stride_y || h >= out_height) continue;
      for (int s = 0; s < kw; s++) {
        const int across = column + left - s * dilation_x, w = across / stride_x;
        if (across < 0 || across % stride_x || w >= out_width) continue;
        const long long tap = ((long long)c * kh + r) * kw + s;
        sum += (wide)columns[((tap * batch + n) * out_height + h) * out_width + w];
      }
    }
    x[i] = (real)sum;
  }
}
