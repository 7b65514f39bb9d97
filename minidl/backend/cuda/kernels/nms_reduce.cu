// Non-maximum suppression, second part: one pass over the bits that nms.cu wrote.
//
// A box removes others only if it has not been removed itself: that is sequential. One block goes
// through the boxes 64 at a time, on the device, so that nothing is copied to the host.

#define NMS_THREADS 256

// mask (words, R), words = ceil(R / 64): bit b of mask[w][i] says that i removes 64 w + b.
// removed (words), zeros before; keep (R). One block.
extern "C" __global__ void __launch_bounds__(NMS_THREADS) mdl_nms_reduce(
    const unsigned long long* __restrict__ mask, unsigned long long* removed,
    bool* __restrict__ keep, int number, int words) {
  __shared__ unsigned long long own[64];  // whom each of these 64 boxes removes among the 64
  const int thread = threadIdx.x;
  for (int word = 0; word < words; word++) {
    const int first = word * 64, here = number - first < 64 ? number - first : 64;
    if (thread < here) own[thread] = mask[(long long)word * number + first + thread];
    __syncthreads();
    unsigned long long gone = removed[word], kept = 0;
    for (int bit = 0; bit < here; bit++)  // the same in every thread
      if (!(gone >> bit & 1)) {
        kept |= 1ULL << bit;
        gone |= own[bit];
      }
    if (thread < here) keep[first + thread] = kept >> thread & 1;
    for (int later = word + 1 + thread; later < words; later += NMS_THREADS) {
      const unsigned long long* row = mask + (long long)later * number + first;
      unsigned long long bits = removed[later];
      for (int bit = 0; bit < here; bit++)
        if (kept >> bit & 1) bits |= row[bit];
      removed[later] = bits;
    }
    __syncthreads();
  }
}
