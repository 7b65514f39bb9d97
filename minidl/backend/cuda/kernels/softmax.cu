// Softmax and its logarithm, forward and backward: formulas in ops/softmax.py.
//
// A row is one (n, l) of an array (N, classes, L). LANES threads share it: each takes every LANES-th
// class, and their maxima and sums are put together in shared memory. Where L is 1 the classes of a
// row lie side by side, and so do its lanes: one for a short row, a whole block for a long one. Else
// rows lie side by side, and each has one lane: neighbouring threads read neighbouring numbers either
// way.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are computed with) and LANES (a
// power of two).

#define SOFTMAX_THREADS 256
#define ROWS (SOFTMAX_THREADS / LANES)

// The sum (or, with `largest`, the maximum) of the values of the lanes of each row.
__device__ wide over_lanes(wide value, int row, int lane, bool largest) {
  __shared__ wide shared[ROWS][LANES];
  shared[row][lane] = value;
  __syncthreads();
  for (int half = LANES / 2; half > 0; half /= 2) {
    if (lane < half) {
      const wide other = shared[row][lane + half], mine = shared[row][lane];
      // NaN, which is larger than nothing, must not get lost.
      shared[row][lane] = largest ? (other > mine || other != other ? other : mine) : mine + other;
    }
    __syncthreads();
  }
  const wide result = shared[row][0];
  __syncthreads();
  return result;
}

// x and y (N, classes, L); classes >= LANES; rows = N L. log_: whether to take the logarithm.
extern "C" __global__ void __launch_bounds__(SOFTMAX_THREADS) mdl_softmax(
    const real* __restrict__ x, real* __restrict__ y, int log_, int classes, long long length,
    long long rows) {
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  const long long at = (long long)blockIdx.x * ROWS + row;
  const bool inside = at < rows;  // others wait at the barriers with the rest of their block
  const long long first = inside ? at / length * classes * length + at % length : 0;

  wide top = (wide)x[first + lane * length];
  for (int c = lane + LANES; inside && c < classes; c += LANES) {
    const wide value = (wide)x[first + c * length];
    if (value > top || value != value) top = value;
  }
  top = over_lanes(top, row, lane, true);
  wide total = 0;
  for (int c = lane; inside && c < classes; c += LANES)
    total += exp((wide)x[first + c * length] - top);
  total = over_lanes(total, row, lane, false);
  const wide log_total = log(total);
  for (int c = lane; inside && c < classes; c += LANES) {
    const wide shifted = (wide)x[first + c * length] - top;
    y[first + c * length] = (real)(log_ ? shifted - log_total : exp(shifted) / total);
  }
}

// y, the result of mdl_softmax, grad and dx (N, classes, L).
extern "C" __global__ void __launch_bounds__(SOFTMAX_THREADS) mdl_softmax_grad(
    const real* __restrict__ y, const real* __restrict__ grad, real* __restrict__ dx, int log_,
    int classes, long long length, long long rows) {
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  const long long at = (long long)blockIdx.x * ROWS + row;
  const bool inside = at < rows;
  const long long first = inside ? at / length * classes * length + at % length : 0;

  wide total = 0;
  for (int c = lane; inside && c < classes; c += LANES) {
    const wide g = (wide)grad[first + c * length];
    total += log_ ? g : g * (wide)y[first + c * length];
  }
  total = over_lanes(total, row, lane, false);
  for (int c = lane; inside && c < classes; c += LANES) {
    const wide g = (wide)grad[first + c * length], v = (wide)y[first + c * length];
    dx[first + c * length] = (real)(log_ ? g - exp(v) * total : v * (g - total));
  }
}
