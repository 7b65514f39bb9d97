// Batch normalisation of (N, C, L): two kernels forward, two backward.
//
// The sums over a channel are taken by `splits` blocks each, which write partial sums; the second
// kernel adds these up again in each of its blocks (a few hundred numbers, in cache) and uses the
// result at once. So there is no third launch in between, and no atomics: the same bits every time.
//
// Compiled with `real` (how numbers are stored) and `wide` (how they are added up).

#define NORM_THREADS 256

// The sums of a and of b over all threads of the block, for every thread.
__device__ void block_sum(wide* a, wide* b) {
  __shared__ wide first[NORM_THREADS], second[NORM_THREADS];
  const int thread = threadIdx.x;
  first[thread] = *a;
  second[thread] = *b;
  __syncthreads();
  for (int half = NORM_THREADS / 2; half > 0; half /= 2) {
    if (thread < half) {
      first[thread] += first[thread + half];
      second[thread] += second[thread + half];
    }
    __syncthreads();
  }
  *a = first[0];
  *b = second[0];
  __syncthreads();
}

// The two sums of a channel, from the parts (2, splits, C).
__device__ void add_parts(const wide* parts, int splits, int channels, int c, wide* a, wide* b) {
  *a = *b = 0;
  for (int s = threadIdx.x; s < splits; s += NORM_THREADS) {
    *a += parts[s * channels + c];
    *b += parts[(splits + s) * channels + c];
  }
  block_sum(a, b);
}

// parts: sums of x - k and of (x - k)^2, where k, the channel's first number, keeps the difference
// of squares from losing digits. grid (splits, C)
extern "C" __global__ void __launch_bounds__(NORM_THREADS) mdl_norm_sums(
    const real* __restrict__ x, wide* __restrict__ parts, int batch, int channels, int length) {
  const int c = blockIdx.y, split = blockIdx.x, splits = gridDim.x;
  const unsigned total = (unsigned)batch * length;
  const wide shift = (wide)x[(long long)c * length];
  wide sum = 0, squares = 0;
  for (unsigned e = split * NORM_THREADS + threadIdx.x; e < total; e += splits * NORM_THREADS) {
    const unsigned n = e / length, l = e - n * length;
    const wide d = (wide)x[((long long)n * channels + c) * length + l] - shift;
    sum += d;
    squares += d * d;
  }
  block_sum(&sum, &squares);
  if (threadIdx.x == 0) {
    parts[split * channels + c] = sum;
    parts[(splits + split) * channels + c] = squares;
  }
}

// y = weight (x - mean) / sqrt(var + eps) + bias, and the statistics. grid (blocks, C)
extern "C" __global__ void __launch_bounds__(NORM_THREADS) mdl_norm_apply(
    const real* __restrict__ x, const wide* __restrict__ parts, const wide* __restrict__ weight,
    const wide* __restrict__ bias, real* __restrict__ y, wide* __restrict__ mean_out,
    wide* __restrict__ var_out, int has_weight, int has_bias, int relu, int splits, int batch,
    int channels, int length, wide eps, wide ceiling) {
  const int c = blockIdx.y;
  const unsigned total = (unsigned)batch * length;
  wide sum, squares;
  add_parts(parts, splits, channels, c, &sum, &squares);
  const wide offset = sum / total;
  const wide difference = squares / total - offset * offset;
  const wide var = difference > 0 || difference != difference ? difference : 0;
  const wide mean = (wide)x[(long long)c * length] + offset;
  __syncthreads();
  const wide scale = (has_weight ? (wide)weight[c] : (wide)1) / sqrt(var + eps);
  const wide shift = has_bias ? (wide)bias[c] : (wide)0;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    mean_out[c] = mean;
    var_out[c] = var;
  }
  for (unsigned e = blockIdx.x * NORM_THREADS + threadIdx.x; e < total;
       e += gridDim.x * NORM_THREADS) {
    const unsigned n = e / length, l = e - n * length;
    const long long at = ((long long)n * channels + c) * length + l;
    const wide value = ((wide)x[at] - mean) * scale + shift;
    y[at] = (real)(!relu ? value : value < 0 ? (wide)0 : value > ceiling ? ceiling : value);
  }
}

// Whether a rectified result lets the gradient through.
__device__ inline bool passes(real y, wide ceiling) { return y > (real)0 && (wide)y < ceiling; }

// parts: sums of g and of g x^, where x^ = (x - mean) invstd; with relu, g counts only where the
// result was between 0 and the ceiling. grid (splits, C)
extern "C" __global__ void __launch_bounds__(NORM_THREADS) mdl_norm_grad_sums(
    const real* __restrict__ grad, const real* __restrict__ x, const real* __restrict__ rectified,
    const wide* __restrict__ mean, const wide* __restrict__ invstd, wide* __restrict__ parts,
    int has_relu, int batch, int channels, int length, wide ceiling) {
  const int c = blockIdx.y, split = blockIdx.x, splits = gridDim.x;
  const unsigned total = (unsigned)batch * length;
  const wide middle = mean[c], scale = invstd[c];
  wide sum = 0, product = 0;
  for (unsigned e = split * NORM_THREADS + threadIdx.x; e < total; e += splits * NORM_THREADS) {
    const unsigned n = e / length, l = e - n * length;
    const long long at = ((long long)n * channels + c) * length + l;
    if (has_relu && !passes(rectified[at], ceiling)) continue;
    const wide g = (wide)grad[at];
    sum += g;
    product += g * (((wide)x[at] - middle) * scale);
  }
  block_sum(&sum, &product);
  if (threadIdx.x == 0) {
    parts[split * channels + c] = sum;
    parts[(splits + split) * channels + c] = product;
  }
}

// dx = weight invstd (g - <g> - x^ <g x^>), and the gradients of weight and bias. grid (blocks, C)
extern "C" __global__ void __launch_bounds__(NORM_THREADS) mdl_norm_grad_apply(
    const real* __restrict__ grad, const real* __restrict__ x, const real* __restrict__ rectified,
    const wide* __restrict__ mean, const wide* __restrict__ invstd,
    const wide* __restrict__ weight, const wide* __restrict__ parts, real* __restrict__ dx,
    wide* __restrict__ weight_grad, wide* __restrict__ bias_grad, int has_relu, int has_weight,
    int splits, int batch, int channels, int length, wide ceiling) {
  const int c = blockIdx.y;
  const unsigned total = (unsigned)batch * length;
  wide sum, product;
  add_parts(parts, splits, channels, c, &sum, &product);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    weight_grad[c] = product;
    bias_grad[c] = sum;
  }
  const wide middle = mean[c], inverse = invstd[c];
  const wide scale = inverse * (has_weight ? (wide)weight[c] : (wide)1);
  const wide average = sum / total, slope = product / total;
  for (unsigned e = blockIdx.x * NORM_THREADS + threadIdx.x; e < total;
       e += gridDim.x * NORM_THREADS) {
    const unsigned n = e / length, l = e - n * length;
    const long long at = ((long long)n * channels + c) * length + l;
    const wide g = has_relu && !passes(rectified[at], ceiling) ? (wide)0 : (wide)grad[at];
    const wide normal = ((wide)x[at] - middle) * inverse;
    dx[at] = (real)(scale * (g - average - normal * slope));
  }
}
