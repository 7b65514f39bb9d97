// Layer-wise adaptive rate scaling over flat arrays (You et al. 2017; backend/plain/optim.py).
//
// The arrays are divided into segments: the layers, and what lies between them, which keeps the
// global rate. `splits` blocks each take the squared norms of a part of a segment; the second
// kernel adds these up again in each of its blocks and updates the segment. No atomics: the same
// bits every time.
//
// Compiled with `real` (how numbers are stored) and `wide` (how they are added up).

#define LARS_THREADS 256

// The sums of a and of b over all threads of the block, for every thread.
__device__ void block_sum(wide* a, wide* b) {
  __shared__ wide first[LARS_THREADS], second[LARS_THREADS];
  const int thread = threadIdx.x;
  first[thread] = *a;
  second[thread] = *b;
  __syncthreads();
  for (int half = LARS_THREADS / 2; half > 0; half /= 2) {
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

// segments (S, 3): first, end, whether it is a layer; parts (2, S, splits). grid (splits, S)
extern "C" __global__ void __launch_bounds__(LARS_THREADS) mdl_lars_norms(
    const real* __restrict__ param, const real* __restrict__ grad,
    const long long* __restrict__ segments, wide* __restrict__ parts) {
  const long long* segment = segments + 3 * blockIdx.y;
  wide p2 = 0, g2 = 0;
  if (segment[2])
    for (long long i = segment[0] + (long long)blockIdx.x * LARS_THREADS + threadIdx.x;
         i < segment[1]; i += (long long)gridDim.x * LARS_THREADS) {
      const wide p = (wide)param[i], g = (wide)grad[i];
      p2 += p * p;
      g2 += g * g;
    }
  block_sum(&p2, &g2);
  if (threadIdx.x == 0) {
    parts[(long long)blockIdx.y * gridDim.x + blockIdx.x] = p2;
    parts[((long long)gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = g2;
  }
}

// grid (blocks, S)
extern "C" __global__ void __launch_bounds__(LARS_THREADS) mdl_lars_update(
    real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ momentum_buffer,
    const long long* __restrict__ segments, const wide* __restrict__ parts, int splits, wide sign,
    wide lr, wide momentum, wide weight_decay, wide trust_coefficient, wide eps, int nesterov) {
  const long long* segment = segments + 3 * blockIdx.y;
  wide p2 = 0, g2 = 0;
  for (int s = threadIdx.x; s < splits; s += LARS_THREADS) {
    p2 += parts[(long long)blockIdx.y * splits + s];
    g2 += parts[((long long)gridDim.y + blockIdx.y) * splits + s];
  }
  block_sum(&p2, &g2);
  const wide p_norm = sqrt(p2), g_norm = sqrt(g2);
  // A layer of zeros, or one without gradient, keeps the global rate.
  const wide ratio = p_norm > 0 && g_norm > 0
                         ? trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps)
                         : (wide)1;
  for (long long i = segment[0] + (long long)blockIdx.x * LARS_THREADS + threadIdx.x;
       i < segment[1]; i += (long long)gridDim.x * LARS_THREADS) {
    const wide p = (wide)param[i];
    const wide g = lr * ratio * (sign * (wide)grad[i] + weight_decay * p);
    const wide m = momentum * (wide)momentum_buffer[i] + g;
    momentum_buffer[i] = (real)m;
    param[i] = (real)(p - (nesterov ? g + momentum * m : m));
  }
}
