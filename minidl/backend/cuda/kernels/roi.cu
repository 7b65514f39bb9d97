// Regions of interest: RoIAlign and its adjoint as out = A_y F A_x^T and A_y^T G A_x, and RoIPool.
//
// mdl_roi_weights writes the matrices A of one axis once; forward and adjoint then read the same
// numbers. They are sparse, so the pixels that a bin touches, [first, last), are written beside
// them, and those that a box touches.
//
// The adjoint gathers: each pixel looks for the boxes above it and adds up their bins in order.
// Bins that add to pixels by atomics would be less work, but the sum's last bits would change from
// run to run.
//
// Compiled with `real` (how maps are stored), `wide` (boxes, weights and sums), `place_t` (an index
// into all maps) and `count_t` (how results are counted).

#define CHANNELS 8  // that a thread of the adjoint sums: it looks for boxes once for all of them

// rois (K, 5): image, x1, y1, x2, y2; axis 0: y, 1: x. weights (K, bins, size), zeros before;
// ranges (K, bins, 2); spans (K, 2). half: what is taken off the corners: 1/2 if aligned.
// samples: of a bin; 0: ceil(bin). One thread for each box.
extern "C" __global__ void mdl_roi_weights(
    const wide* __restrict__ rois, wide* __restrict__ weights, int* __restrict__ ranges,
    int* __restrict__ spans, int axis, int bins, int size, wide scale, wide half, int aligned,
    int samples, count_t count) {
  EACH(k, count) {
    const wide* roi = rois + 5LL * k;
    const wide start = roi[2 - axis] * scale - half;
    wide length = roi[4 - axis] * scale - half - start;
    if (!aligned && length < 1) length = 1;
    const wide bin = length / bins;
    const wide wanted = samples ? (wide)samples : ceil(bin);
    const wide number = wanted < 1 ? (wide)1 : wanted;
    const wide step = bin / number;
    int span_first = size, span_last = 0;
    for (int b = 0; b < bins; b++) {
      const long long bin_number = (long long)k * bins + b;
      wide* row = weights + bin_number * size;
      const wide y0 = start + b * bin + step / 2;
      int first = size, last = 0;
      // Samples outside of the map are not even counted through: a box may be very long.
      wide begin = 0, end = wanted;
      if (y0 != y0) {  // a box with a NaN gives NaN
        row[0] = y0;
        first = 0;
        last = 1;
        end = 0;
      } else if (step > 0) {
        begin = floor((-1 - y0) / step);
        if (begin < 0) begin = 0;
        const wide beyond = (size - y0) / step + 2;
        if (beyond < end) end = beyond;
      }
      for (int i = 0; i < end - begin; i++) {
        const wide y = y0 + (begin + i) * step;
        if (!(y >= -1 && y <= size)) continue;
        const wide inside = y < 0 ? (wide)0 : y > size - 1 ? (wide)(size - 1) : y;
        const int low = (int)inside;
        const wide share = inside - low;
        row[low] += (1 - share) / number;
        if (share > 0) row[low + 1] += share / number;
        if (low < first) first = low;
        if (low + 1 + (share > 0) > last) last = low + 1 + (share > 0);
      }
      ranges[2 * bin_number] = first;
      ranges[2 * bin_number + 1] = last;
      if (first < span_first) span_first = first;
      if (last > span_last) span_last = last;
    }
    spans[2LL * k] = span_first;
    spans[2LL * k + 1] = span_last;
  }
}

// x (N, C, H, W); out (K, C, ph, pw). One thread for each output.
extern "C" __global__ void mdl_roi_align(
    const real* __restrict__ x, const wide* __restrict__ rois, const wide* __restrict__ rows,
    const int* __restrict__ row_ranges, const wide* __restrict__ columns,
    const int* __restrict__ column_ranges, real* __restrict__ out, int images, int channels,
    int height, int width, int ph, int pw, count_t count) {
  EACH(t, count) {
    const int j = t % pw, i = t / pw % ph;
    const count_t plane_number = t / (pw * ph);
    const int c = plane_number % channels;
    const long long k = plane_number / channels;
    const wide image = rois[5 * k];
    wide sum = 0;
    if (image >= 0 && image < images) {
      const long long row_bin = k * ph + i, column_bin = k * pw + j;
      const real* plane = x + ((long long)(int)image * channels + c) * height * width;
      for (int h = row_ranges[2 * row_bin]; h < row_ranges[2 * row_bin + 1]; h++) {
        const wide weight = rows[row_bin * height + h];
        if (weight == 0) continue;
        wide part = 0;
        for (int w = column_ranges[2 * column_bin]; w < column_ranges[2 * column_bin + 1]; w++) {
          const wide beside = columns[column_bin * width + w];
          if (beside != 0) part += beside * (wide)plane[(long long)h * width + w];
        }
        sum += weight * part;
      }
    }
    out[t] = (real)sum;
  }
}

// grad (K, C, ph, pw); dx (N, C, H, W). One thread for each pixel and CHANNELS channels.
extern "C" __global__ void mdl_roi_align_adjoint(
    const real* __restrict__ grad, const wide* __restrict__ rois, const wide* __restrict__ rows,
    const int* __restrict__ row_spans, const wide* __restrict__ columns,
    const int* __restrict__ column_spans, real* __restrict__ dx, int boxes, int channels,
    int height, int width, int ph, int pw, count_t count) {
  const int blocks = (channels + CHANNELS - 1) / CHANNELS;
  EACH(t, count) {
    const count_t line = t / width, block = line / height;
    const int w = t % width, h = line % height;
    const int first = (int)(block % blocks) * CHANNELS, image = block / blocks;
    wide sum[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) sum[c] = 0;
    for (long long k = 0; k < boxes; k++) {
      if (rois[5 * k] != image || h < row_spans[2 * k] || h >= row_spans[2 * k + 1] ||
          w < column_spans[2 * k] || w >= column_spans[2 * k + 1])
        continue;
      for (int i = 0; i < ph; i++) {
        const wide weight = rows[(k * ph + i) * height + h];
        if (weight == 0) continue;
        for (int j = 0; j < pw; j++) {
          const wide both = weight * columns[(k * pw + j) * width + w];
          if (both == 0) continue;
          const real* bin = grad + ((k * channels + first) * ph + i) * pw + j;
          for (int c = 0; c < CHANNELS && first + c < channels; c++)
            sum[c] += both * (wide)bin[(long long)c * ph * pw];
        }
      }
    }
    for (int c = 0; c < CHANNELS && first + c < channels; c++)
      dx[(((long long)image * channels + first + c) * height + h) * width + w] = (real)sum[c];
  }
}

// The window [start, stop) of bin b of `bins` between two corners that are rounded to pixels, both
// of which belong to the box.
__device__ void pool_window(wide low, wide high, int b, int bins, int size, int* start, int* stop) {
  low = round(low);
  high = round(high);
  const wide length = high - low + 1, bin = (length < 1 ? (wide)1 : length) / bins;
  const wide first = floor(b * bin) + low, last = ceil((b + 1) * bin) + low;
  *start = first > 0 ? (first < size ? (int)first : size) : 0;
  *stop = last > 0 ? (last < size ? (int)last : size) : 0;  // 0 for a NaN: empty
}

// x (N, C, H, W); values, places (K, C, ph, pw). One thread for each output.
extern "C" __global__ void mdl_roi_pool(
    const real* __restrict__ x, const wide* __restrict__ rois, real* __restrict__ values,
    place_t* __restrict__ places, int has_places, int images, int channels, int height, int width,
    int ph, int pw, wide scale, count_t count) {
  EACH(t, count) {
    const int j = t % pw, i = t / pw % ph;
    const count_t plane_number = t / (pw * ph);
    const int c = plane_number % channels;
    const wide* roi = rois + 5LL * (plane_number / channels);
    wide best = 0;
    long long place = -1;
    if (roi[0] >= 0 && roi[0] < images) {
      int top, bottom, left, right;
      pool_window(roi[2] * scale, roi[4] * scale, i, ph, height, &top, &bottom);
      pool_window(roi[1] * scale, roi[3] * scale, j, pw, width, &left, &right);
      const long long plane = ((long long)(int)roi[0] * channels + c) * height * width;
      for (int h = top; h < bottom; h++)
        for (int w = left; w < right; w++) {
          const long long here = plane + (long long)h * width + w;
          const wide value = (wide)x[here];
          if (place < 0 || value > best || (value != value && best == best)) {
            best = value;
            place = here;
          }
        }
    }
    values[t] = (real)best;
    if (has_places) places[t] = (place_t)place;
  }
}
