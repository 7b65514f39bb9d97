// out[o, index[s], k] += values[o, s, k]: sums into positions that may be named more than once.
//
// Two forms: with atomics, in which the order of the additions to one position is free and with it
// the last bits of the sum; and over the sorted index, in which one thread adds up all that goes to
// a position, in the order of the values.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are added up) and `count_t`.

// out (outer, size, inner); index (picks); values (outer, picks, inner). An index out of range wraps
// round.
extern "C" __global__ void mdl_scatter_add(
    real* __restrict__ out, const long long* __restrict__ index, const real* __restrict__ values,
    long long size, long long picks, long long inner, count_t count) {
  EACH(i, count) {
    const long long line = i / inner, k = i % inner, o = line / picks;
    const long long wrapped = index[line % picks] % size;
    const long long position = wrapped < 0 ? wrapped + size : wrapped;
    atomicAdd(out + (o * size + position) * inner + k, values[i]);
  }
}

// sorted (picks): the index in rising order, inside [0, size); order (picks): where in `values` each
// of them is. The thread of a position's first entry adds up all its entries; the others do nothing.
extern "C" __global__ void mdl_scatter_add_sorted(
    real* __restrict__ out, const long long* __restrict__ sorted,
    const long long* __restrict__ order, const real* __restrict__ values, long long size,
    long long picks, long long inner, count_t count) {
  EACH(i, count) {
    const long long line = i / inner, k = i % inner, o = line / picks, first = line % picks;
    const long long position = sorted[first];
    if (first > 0 && sorted[first - 1] == position) continue;
    real* target = out + (o * size + position) * inner + k;
    wide sum = (wide)*target;
    for (long long s = first; s < picks && sorted[s] == position; s++)
      sum += (wide)values[(o * picks + order[s]) * inner + k];
    *target = (real)sum;
  }
}
