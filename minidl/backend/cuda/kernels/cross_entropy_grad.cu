// The gradient of the cross entropy of a softmax: dx = g (s p - q), one number a thread. Formulas in
// backend/plain/losses.py: s = sum_c q_c, and q_c = (1 - smoothing) w_t [c = t] + smoothing w_c / C.
//
// Compiled with `wide` (probabilities and gradients) and `count_t` (how results are counted).

// p and dx (N, classes, L); grad and target (N, L); weight (classes) and average, its mean, or null.
extern "C" __global__ void mdl_cross_entropy_grad(
    const wide* __restrict__ p, const wide* __restrict__ grad, const long long* __restrict__ target,
    const wide* __restrict__ weight, const wide* __restrict__ average, wide* __restrict__ dx,
    int has_weight, long long ignore_index, wide smoothing, int classes, long long length,
    count_t count) {
  EACH(i, count) {
    const count_t line = i / length;
    const int c = (int)(line % classes);
    const long long row = line / classes * length + i % length;
    const long long label = target[row];
    if (label == ignore_index || label < 0 || label >= classes) {
      dx[i] = p[i] * (0 * grad[row]);  // 0, unless something is not finite
      continue;
    }
    const wide mine = has_weight ? weight[label] : (wide)1;
    wide mass = mine, q = c == label ? (1 - smoothing) * mine : (wide)0;
    if (smoothing != 0) {
      mass = (1 - smoothing) * mine + smoothing * (has_weight ? *average : (wide)1);
      q += smoothing / classes * (has_weight ? weight[c] : (wide)1);
    }
    dx[i] = p[i] * (mass * grad[row]) - q * grad[row];
  }
}
