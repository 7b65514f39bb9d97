// Convolution as one matrix product whose second matrix is never formed ("implicit GEMM").
//
// For each group, forward is Y (M, J) = A (M, K) B (K, J): rows m are output channels, columns
// j = (n, p, q) output pixels, and k = (c, r, s) runs over input channels and taps. Element (k, j)
// of B is the input pixel under tap k of window j. It is looked up when a tile of B is
// loaded into shared memory, so the matrix of columns, nine times the image for a 3 x 3 kernel,
// is never written to memory.
//
// The gradient to the input is the same product with the roles exchanged: its "windows" are the
// input pixels, and tap k of pixel j is the output pixel that had it under that tap. So one kernel,
// mdl_conv_gather, serves both, given where tap k of pixel p lies:
//     row = (p * step_h + start_h + tap_h[k]) / part_h, if that is a whole number inside the image.
// Forward: step = stride, start = -padding, tap = r * dilation, part = 1.
// Input gradient: step = 1, start = +padding, tap = -r * dilation, part = stride.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up), and the tile: a
// block of threads computes BM x BN results, BK terms of the sum at a time; each thread TM x TN of
// them in registers.

#define THREADS ((BM / TM) * (BN / TN))
#define A_LOADS ((BM * BK + THREADS - 1) / THREADS)
#define B_LOADS ((BK * BN + THREADS - 1) / THREADS)

// in (N, groups * C, H, W); a (groups, M, K); taps (K, 3): c * H * W, tap_h, tap_w;
// out (N, groups * M, P, Q); bias (groups * M) or null.
extern "C" __global__ void __launch_bounds__(THREADS) mdl_conv_gather(
    const real* __restrict__ in, const real* __restrict__ a, const int* __restrict__ taps,
    const real* __restrict__ bias, real* __restrict__ out, int has_bias, int batch, int channels,
    int height, int width, int rows, int depth, int out_height, int out_width, int step_h,
    int step_w, int start_h, int start_w, int part_h, int part_w) {
  __shared__ wide tile_a[BK][BM + 1];
  __shared__ wide tile_b[BK][BN];
  const int group = blockIdx.z, groups = gridDim.z, thread = threadIdx.x;
  const int first_row = blockIdx.y * BM;
  const int pixels = out_height * out_width;
  const long long columns = (long long)batch * pixels;
  const long long first_column = (long long)blockIdx.x * BN;
  const real* my_a = a + (long long)group * rows * depth;

  // The column (window) whose taps this thread loads: the same for all its loads.
  const int load_column = thread % BN;
  const long long column = first_column + load_column;
  const bool inside = column < columns;
  const int image = inside ? (int)(column / pixels) : 0;
  const int pixel = inside ? (int)(column % pixels) : 0;
  const int base_h = pixel / out_width * step_h + start_h;
  const int base_w = pixel % out_width * step_w + start_w;
  const real* my_in = in + ((long long)image * groups + group) * channels * height * width;

  const int tx = thread % (BN / TN), ty = thread / (BN / TN);
  wide sum[TM][TN];
#pragma unroll
  for (int i = 0; i < TM; i++)
#pragma unroll
    for (int j = 0; j < TN; j++) sum[i][j] = 0;

  for (int k0 = 0; k0 < depth; k0 += BK) {
#pragma unroll
    for (int i = 0; i < A_LOADS; i++) {
      const int e = thread + i * THREADS, m = e / BK, k = e % BK;
      if (e < BM * BK)
        tile_a[k][m] = first_row + m < rows && k0 + k < depth
                           ? (wide)my_a[(long long)(first_row + m) * depth + k0 + k]
                           : (wide)0;
    }
#pragma unroll
    for (int i = 0; i < B_LOADS; i++) {
      const int k = thread / BN + i * (THREADS / BN);
      wide value = 0;
      if (inside && k0 + k < depth) {
        const int* tap = taps + 3 * (k0 + k);
        int h = base_h + tap[1], w = base_w + tap[2];
        bool hit = true;
        if (part_h > 1) { hit = h % part_h == 0; h /= part_h; if (!hit) h = -1; }
        if (part_w > 1) { hit = hit && w % part_w == 0; w /= part_w; }
        if (hit && h >= 0 && h < height && w >= 0 && w < width)
          value = (wide)my_in[tap[0] + h * width + w];
      }
      if (k < BK) tile_b[k][load_column] = value;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < BK; k++) {
      wide left[TM], right[TN];
#pragma unroll
      for (int i = 0; i < TM; i++) left[i] = tile_a[k][ty * TM + i];
#pragma unroll
      for (int j = 0; j < TN; j++) right[j] = tile_b[k][tx + j * (BN / TN)];
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) sum[i][j] += left[i] * right[j];
    }
    __syncthreads();
  }

#pragma unroll
  for (int j = 0; j < TN; j++) {
    const long long c = first_column + tx + j * (BN / TN);
    if (c >= columns) continue;
    const long long n = c / pixels;
    real* target = out + (n * groups + group) * rows * pixels + c % pixels;
#pragma unroll
    for (int i = 0; i < TM; i++) {
      const int m = first_row + ty * TM + i;
      if (m < rows)
        target[(long long)m * pixels] =
            (real)(sum[i][j] + (has_bias ? (wide)bias[group * rows + m] : (wide)0));
    }
  }
}

// Gradient to the weight: G (M, J) times the transpose of B (K, J), a small result of a very long
// sum. The sum over j = (n, p, q) is therefore cut into `splits` parts, each with blocks of its own,
// which mdl_conv_add_splits adds up in a fixed order: the same bits every time, unlike atomics.
// grad (N, groups * M, P, Q); in (N, groups * C, H, W); parts (splits, groups, M, K).
extern "C" __global__ void __launch_bounds__(THREADS) mdl_conv_weight_grad(
    const real* __restrict__ grad, const real* __restrict__ in, const int* __restrict__ taps,
    wide* __restrict__ parts, int batch, int groups, int channels, int height, int width, int rows,
    int depth, int out_height, int out_width, int step_h, int step_w, int start_h, int start_w,
    int splits) {
  __shared__ wide tile_a[BK][BM + 1];
  __shared__ wide tile_b[BK][BN + 1];
  const int group = blockIdx.z % groups, split = blockIdx.z / groups, thread = threadIdx.x;
  const int first_row = blockIdx.y * BM, first_column = blockIdx.x * BN;
  const int pixels = out_height * out_width;
  const long long total = (long long)batch * pixels;
  const long long share = ((total + splits - 1) / splits + BK - 1) / BK * BK;
  const long long begin = split * share, end = begin + share < total ? begin + share : total;

  const int load_l = thread % BK;  // neighbouring threads read neighbouring pixels
  const int tx = thread % (BN / TN), ty = thread / (BN / TN);
  wide sum[TM][TN];
#pragma unroll
  for (int i = 0; i < TM; i++)
#pragma unroll
    for (int j = 0; j < TN; j++) sum[i][j] = 0;

  for (long long l0 = begin; l0 < end; l0 += BK) {
    const long long l = l0 + load_l;
    const bool inside = l < end;
    const long long image = inside ? l / pixels : 0;
    const int pixel = inside ? (int)(l % pixels) : 0;
    const int base_h = pixel / out_width * step_h + start_h;
    const int base_w = pixel % out_width * step_w + start_w;
    const real* my_grad = grad + (image * groups + group) * rows * pixels + pixel;
    const real* my_in = in + (image * groups + group) * channels * height * width;
#pragma unroll
    for (int i = 0; i < A_LOADS; i++) {
      const int m = thread / BK + i * (THREADS / BK);
      if (m < BM)
        tile_a[load_l][m] = inside && first_row + m < rows
                                ? (wide)my_grad[(long long)(first_row + m) * pixels]
                                : (wide)0;
    }
#pragma unroll
    for (int i = 0; i < B_LOADS; i++) {
      const int k = thread / BK + i * (THREADS / BK);
      wide value = 0;
      if (inside && first_column + k < depth) {
        const int* tap = taps + 3 * (first_column + k);
        const int h = base_h + tap[1], w = base_w + tap[2];
        if (h >= 0 && h < height && w >= 0 && w < width)
          value = (wide)my_in[tap[0] + h * width + w];
      }
      if (k < BN) tile_b[load_l][k] = value;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < BK; k++) {
      wide left[TM], right[TN];
#pragma unroll
      for (int i = 0; i < TM; i++) left[i] = tile_a[k][ty * TM + i];
#pragma unroll
      for (int j = 0; j < TN; j++) right[j] = tile_b[k][tx + j * (BN / TN)];
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) sum[i][j] += left[i] * right[j];
    }
    __syncthreads();
  }

  wide* target = parts + ((long long)split * groups + group) * rows * depth;
#pragma unroll
  for (int i = 0; i < TM; i++) {
    const int m = first_row + ty * TM + i;
#pragma unroll
    for (int j = 0; j < TN; j++) {
      const int k = first_column + tx + j * (BN / TN);
      if (m < rows && k < depth) target[(long long)m * depth + k] = sum[i][j];
    }
  }
}

// out[i] = parts[0][i] + parts[1][i] + ...
extern "C" __global__ void mdl_conv_add_splits(
    const wide* __restrict__ parts, real* __restrict__ out, int splits, long long count) {
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count;
       i += (long long)gridDim.x * blockDim.x) {
    wide sum = 0;
    for (int s = 0; s < splits; s++) sum += parts[s * count + i];
    out[i] = (real)sum;
  }
}
