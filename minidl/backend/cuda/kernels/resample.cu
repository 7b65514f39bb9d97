// Linear maps along the axes of planes (resizing, average pooling), both axes at once:
//
//     y[p, r, c] = sum_k v[k, r] sum_l h[l, c] x[p, rows[k, r], columns[l, c]]
//
// with few taps k and l to each result. An axis without a map has no taps and stays as it is. The
// gradient is the same with the transposed maps: it gathers too, so the sums have one order.
//
// Compiled with `real` (how numbers are stored), `wide` (weights, and how products are added up) and
// `count_t` (how results are counted).

// x (planes, height, width); rows, v (row_taps, out_height); columns, h (column_taps, out_width);
// y (planes, out_height, out_width). A tap of weight 0 is not read: 0 times infinity would be NaN.
extern "C" __global__ void mdl_resample(
    const real* __restrict__ x, const int* __restrict__ rows, const wide* __restrict__ v,
    const int* __restrict__ columns, const wide* __restrict__ h, real* __restrict__ y, int row_taps,
    int column_taps, int height, int width, int out_height, int out_width, count_t count) {
  EACH(i, count) {
    const int c = (int)(i % out_width);
    const count_t line = i / out_width;
    const int r = (int)(line % out_height);
    const real* plane = x + (long long)(line / out_height) * height * width;
    wide sum = 0;
    for (int k = 0; k < (row_taps ? row_taps : 1); k++) {
      const long long at = (long long)k * out_height + r;
      const wide vertical = row_taps ? v[at] : (wide)1;
      if (vertical == 0) continue;
      const real* line_k = plane + (long long)(row_taps ? rows[at] : r) * width;
      if (!column_taps) {
        sum += vertical * (wide)line_k[c];
        continue;
      }
      wide part = 0;
      for (int l = 0; l < column_taps; l++) {
        const wide weight = h[(long long)l * out_width + c];
        if (weight != 0) part += weight * (wide)line_k[columns[(long long)l * out_width + c]];
      }
      sum += vertical * part;
    }
    y[i] = (real)sum;
  }
}
