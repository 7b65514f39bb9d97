// Non-maximum suppression, first part: a bit for every pair of boxes.
//
// Boxes are sorted by falling score. Whether box i would remove box j > i does not depend on the
// others, so all pairs are compared at once: bit b of mask[w][i] says that i removes 64 w + b.
//
// Compiled with `real`, the type of the boxes, and `count_t` (how words are counted).

// boxes (R, 4): x1, y1, x2, y2; labels (R) or null: only boxes of one label remove each other;
// mask (words, R), words = ceil(R / 64). Words that lie before i in the order are not
// written. One thread for each word.
extern "C" __global__ void mdl_nms_mask(
    const real* __restrict__ boxes, const long long* __restrict__ labels,
    unsigned long long* __restrict__ mask, int has_labels, int number, real threshold,
    count_t count) {
  EACH(t, count) {
    const int i = t % number, word = t / number;
    if (word < i / 64) continue;
    const real* a = boxes + 4LL * i;
    const real area = (a[2] - a[0]) * (a[3] - a[1]);
    unsigned long long bits = 0;
    for (int bit = 0; bit < 64; bit++) {
      const int j = word * 64 + bit;
      if (j <= i || j >= number || (has_labels && labels[i] != labels[j])) continue;
      const real* b = boxes + 4LL * j;
      const real width = (a[2] < b[2] ? a[2] : b[2]) - (a[0] > b[0] ? a[0] : b[0]);
      const real height = (a[3] < b[3] ? a[3] : b[3]) - (a[1] > b[1] ? a[1] : b[1]);
      const real both = width > 0 && height > 0 ? width * height : (real)0;
      const real either = area + (b[2] - b[0]) * (b[3] - b[1]) - both;
      // false for a NaN, and for two boxes without area
      if (both / either > threshold) bits |= 1ULL << bit;
    }
    mask[t] = bits;
  }
}
