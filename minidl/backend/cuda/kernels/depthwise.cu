// Depthwise convolution: each filter sees one channel. As a matrix product it would be one row by a
// few taps for each channel; here a thread adds up the taps of one pixel. Forward and the gradient
// to the input; the gradient to the weight is in depthwise_weight.cu.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up), KH and KW (the taps)
// and `count_t` (how results are counted).

// in (N, channels, height, width); w (channels * filters, KH, KW); bias (channels * filters) or
// null; out (N, channels * filters, rows, columns).
extern "C" __global__ void mdl_depthwise(
    const real* __restrict__ in, const real* __restrict__ w, const real* __restrict__ bias,
    real* __restrict__ out, int has_bias, int channels, int filters, int height, int width, int rows,
    int columns, int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w,
    count_t count) {
  EACH(i, count) {
    const count_t line = i / columns, plane = line / rows;
    const int first_h = (int)(line % rows) * stride_h - top;
    const int first_w = (int)(i % columns) * stride_w - left;
    const int filter = (int)(plane % (channels * filters));
    const real* pixels = in + (long long)(plane / filters) * height * width;
    const real* taps = w + filter * (KH * KW);
    wide sum = has_bias ? (wide)bias[filter] : (wide)0;
#pragma unroll
    for (int a = 0; a < KH; a++) {
      const int h = first_h + a * dilation_h;
#pragma unroll
      for (int b = 0; b < KW; b++) {
        const int x = first_w + b * dilation_w;
        if (h >= 0 && h < height && x >= 0 && x < width)
          sum += (wide)taps[a * KW + b] * (wide)pixels[(long long)h * width + x];
      }
    }
    out[i] = (real)sum;
  }
}

// grad (N, channels * filters, rows, columns); out (N, channels, height, width). Pixel h was under
// tap a of the window in row (h + top - a dilation) / stride, if that is a whole number.
extern "C" __global__ void mdl_depthwise_input_grad(
    const real* __restrict__ grad, const real* __restrict__ w, real* __restrict__ out, int channels,
    int filters, int height, int width, int rows, int columns, int stride_h, int stride_w, int top,
    int left, int dilation_h, int dilation_w, count_t count) {
  EACH(i, count) {
    const count_t line = i / width, plane = line / height;
    const int start_h = (int)(line % height) + top, start_w = (int)(i % width) + left;
    const int channel = (int)(plane % channels);
    wide sum = 0;
    for (int f = 0; f < filters; f++) {
      const real* windows = grad + ((long long)plane * filters + f) * rows * columns;
      const real* taps = w + (channel * filters + f) * (KH * KW);
#pragma unroll
      for (int a = 0; a < KH; a++) {
        const int h = start_h - a * dilation_h, row = h / stride_h;
        if (h < 0 || row * stride_h != h || row >= rows) continue;
#pragma unroll
        for (int b = 0; b < KW; b++) {
          const int x = start_w - b * dilation_w, column = x / stride_w;
          if (x >= 0 && column * stride_w == x && column < columns)
            sum += (wide)taps[a * KW + b] * (wide)windows[(long long)row * columns + column];
        }
      }
    }
    out[i] = (real)sum;
  }
}
