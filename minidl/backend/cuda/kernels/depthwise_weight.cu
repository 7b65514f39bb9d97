// The gradient to the weight of a depthwise convolution: for each tap of each filter a sum over all
// images and pixels. A block takes a part of one filter's pixels; its threads keep the sums of all
// taps in registers, so that each gradient is read once. The parts are added up by the caller, in one
// order: the same bits every time.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up), KH and KW (the taps).

#define DEPTHWISE_THREADS 128
#define TAPS (KH * KW)

// grad (N, channels * filters, rows, columns); in (N, channels, height, width);
// parts (splits, channels * filters, KH, KW). grid (splits, channels * filters)
extern "C" __global__ void __launch_bounds__(DEPTHWISE_THREADS) mdl_depthwise_weight_grad(
    const real* __restrict__ grad, const real* __restrict__ in, wide* __restrict__ parts, int batch,
    int channels, int filters, int height, int width, int rows, int columns, int stride_h,
    int stride_w, int top, int left, int dilation_h, int dilation_w) {
  __shared__ wide shared[DEPTHWISE_THREADS];
  const int filter = blockIdx.y, all = gridDim.y, thread = threadIdx.x;
  const long long pixels = (long long)rows * columns, total = batch * pixels;
  wide sum[TAPS];
#pragma unroll
  for (int t = 0; t < TAPS; t++) sum[t] = 0;

  for (long long e = (long long)blockIdx.x * DEPTHWISE_THREADS + thread; e < total;
       e += (long long)gridDim.x * DEPTHWISE_THREADS) {
    const long long image = e / pixels;
    const int pixel = (int)(e % pixels);
    const wide g = (wide)grad[(image * all + filter) * pixels + pixel];
    const int first_h = pixel / columns * stride_h - top;
    const int first_w = pixel % columns * stride_w - left;
    const real* plane = in + (image * channels + filter / filters) * height * width;
#pragma unroll
    for (int a = 0; a < KH; a++) {
      const int h = first_h + a * dilation_h;
#pragma unroll
      for (int b = 0; b < KW; b++) {
        const int x = first_w + b * dilation_w;
        if (h >= 0 && h < height && x >= 0 && x < width)
          sum[a * KW + b] += g * (wide)plane[(long long)h * width + x];
      }
    }
  }

  wide* target = parts + ((long long)blockIdx.x * all + filter) * TAPS;
#pragma unroll
  for (int t = 0; t < TAPS; t++) {
    shared[thread] = sum[t];
    __syncthreads();
    for (int half = DEPTHWISE_THREADS / 2; half > 0; half /= 2) {
      if (thread < half) shared[thread] += shared[thread + half];
      __syncthreads();
    }
    if (thread == 0) target[t] = shared[0];
    __syncthreads();
  }
}
