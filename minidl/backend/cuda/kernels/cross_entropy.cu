// The cross entropy of a softmax, forward: formulas in backend/plain/losses.py.
//
// A row is one (n, l) of the scores (N, C, L). LANES threads share it: each takes every LANES-th
// class, and their maxima and sums are put together in shared memory. Where L is 1 the classes of a
// row lie side by side, and so do its lanes; else rows lie side by side, and each has one lane:
// neighbouring threads read neighbouring numbers either way.
//
// Compiled with `real` (how scores are stored), `wide` (probabilities, losses and sums) and LANES (a
// power of two).

#define LOSS_THREADS 256
#define ROWS (LOSS_THREADS / LANES)

// The sum (or, with `largest`, the maximum) of the values of the lanes of each row.
__device__ wide over_lanes(wide value, int row, int lane, bool largest) {
  __shared__ wide shared[ROWS][LANES];
  shared[row][lane] = value;
  __syncthreads();
  for (int half = LANES / 2; half > 0; half /= 2) {
    if (lane < half) {
      const wide other = shared[row][lane + half], mine = shared[row][lane];
      shared[row][lane] = largest ? (other > mine ? other : mine) : mine + other;
    }
    __syncthreads();
  }
  const wide result = shared[row][0];
  __syncthreads();
  return result;
}

// scores (N, classes, L); target (N, L); weight (classes) or null; loss and row_weight (N, L);
// p (N, classes, L). classes >= LANES.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS) mdl_cross_entropy(
    const real* __restrict__ scores, const long long* __restrict__ target,
    const wide* __restrict__ weight, wide* __restrict__ loss, wide* __restrict__ p,
    wide* __restrict__ row_weight, int has_weight, long long ignore_index, wide smoothing,
    int classes, long long length, long long rows) {
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  const long long at = (long long)blockIdx.x * ROWS + row;
  const bool inside = at < rows;  // others wait at the barriers with the rest of their block
  const long long first = inside ? at / length * classes * length + at % length : 0;
  const real* x = scores + first;

  wide top = (wide)x[lane * length];
  for (int c = lane + LANES; inside && c < classes; c += LANES) {
    const wide value = (wide)x[c * length];
    if (value > top) top = value;
  }
  top = over_lanes(top, row, lane, true);

  wide total = 0, weights = 0, shifts = 0;  // of e^(x - top), of w, of w (x - top)
  for (int c = lane; inside && c < classes; c += LANES) {
    const wide shifted = (wide)x[c * length] - top, e = exp(shifted);
    p[first + c * length] = e;
    total += e;
    const wide w = has_weight ? weight[c] : (wide)1;
    weights += w;
    shifts += w * shifted;
  }
  total = over_lanes(total, row, lane, false);
  for (int c = lane; inside && c < classes; c += LANES) p[first + c * length] /= total;
  if (smoothing != 0) {
    weights = over_lanes(weights, row, lane, false);
    shifts = over_lanes(shifts, row, lane, false);
  }
  if (!inside || lane > 0) return;

  const long long label = target[at];
  if (label == ignore_index || label < 0 || label >= classes) {
    // Ignored: nothing. No class at all: not a number, so that the mistake shows.
    loss[at] = label == ignore_index ? (wide)0 : (wide)nan("");
    row_weight[at] = 0;
    return;
  }
  const wide mine = has_weight ? weight[label] : (wide)1, log_total = log(total);
  wide result = (log_total - ((wide)x[label * length] - top)) * mine;
  if (smoothing != 0)
    result = (1 - smoothing) * result + smoothing / classes * (weights * log_total - shifts);
  loss[at] = result;
  row_weight[at] = mine;
}
