// Max-pooling with the places of the maxima, and the gather and scatter that differentiate it.
//
// Each thread makes one result. A window's pixels lie beside those of the next thread's window, so
// overlapping windows are read from cache.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up), `place_t` (int or
// long long: an index into a plane) and `count_t` (how results are counted).

// x (planes, height, width); y and places (planes, rows, columns), places may be null.
// Of equal elements the first wins; a NaN wins over all before it, and over a later number.
extern "C" __global__ void mdl_max_pool(
    const real* __restrict__ x, real* __restrict__ y, place_t* __restrict__ places, int has_places,
    int height, int width, int rows, int columns, int kernel_h, int kernel_w, int stride_h,
    int stride_w, int top, int left, int dilation_h, int dilation_w, wide lowest, count_t count) {
  EACH(i, count) {
    const count_t line = i / columns;
    const long long plane = line / rows;
    const int first_row = (int)(line % rows) * stride_h - top;
    const int first_column = (int)(i % columns) * stride_w - left;
    const real* pixels = x + plane * height * width;
    wide best = lowest;
    place_t place = -1;
    for (int a = 0; a < kernel_h; a++) {
      const int row = first_row + a * dilation_h;
      if (row < 0 || row >= height) continue;
      for (int b = 0; b < kernel_w; b++) {
        const int column = first_column + b * dilation_w;
        if (column < 0 || column >= width) continue;
        const place_t here = (place_t)row * width + column;
        const wide value = (wide)pixels[here];
        if (value > best || value != value || place < 0) {
          best = value;
          place = here;
        }
      }
    }
    y[i] = (real)best;
    if (has_places) places[i] = place;
  }
}

// y[p, o] = x[p, places[p, o]] for x (planes, size), y and places (planes, each); 0 where the place
// is -1.
extern "C" __global__ void mdl_pool_gather(
    const real* __restrict__ x, const place_t* __restrict__ places, real* __restrict__ y,
    long long size, long long each, count_t count) {
  EACH(i, count) {
    const long long plane = i / each;
    const place_t place = places[i];
    y[i] = place >= 0 && place < size ? x[plane * size + place] : (real)0;
  }
}

// out[p, places[p, o]] += x[p, o]. The order of additions to one place is free.
extern "C" __global__ void mdl_pool_scatter(
    const real* __restrict__ x, const place_t* __restrict__ places, real* __restrict__ out,
    long long size, long long each, count_t count) {
  EACH(i, count) {
    const long long plane = i / each;
    const place_t place = places[i];
    if (place >= 0 && place < size) atomicAdd(out + plane * size + place, x[i]);
  }
}
