// The update rules of optimisers over flat arrays: each number is read once and written once.
// Formulas and meanings: backend/plain/optim.py. A state array that a rule does not have is null.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are computed with) and `count_t`.

extern "C" __global__ void mdl_sgd(
    real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ momentum_buffer,
    int has_momentum, int first, int nesterov, wide sign, wide lr, wide momentum, wide gain,
    wide weight_decay, count_t count) {
  EACH(i, count) {
    const wide p = (wide)param[i];
    wide g = sign * (wide)grad[i];
    if (weight_decay != 0) g += weight_decay * p;
    if (has_momentum) {
      const wide m = first ? g : momentum * (wide)momentum_buffer[i] + gain * g;
      momentum_buffer[i] = (real)m;
      g = nesterov ? g + momentum * m : m;
    }
    param[i] = (real)(p - lr * g);
  }
}

// keep: 1 - lr weight_decay where the decay is decoupled, else 1; rate: lr / (1 - beta1^t);
// correction: sqrt(1 - beta2^t).
extern "C" __global__ void mdl_adam(
    real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ exp_avg,
    real* __restrict__ exp_avg_sq, real* __restrict__ max_exp_avg_sq, int has_max, wide sign,
    wide keep, wide weight_decay, wide gain1, wide beta2, wide gain2, wide rate, wide correction,
    wide eps, count_t count) {
  EACH(i, count) {
    const wide p = keep * (wide)param[i];
    wide g = sign * (wide)grad[i];
    if (weight_decay != 0) g += weight_decay * p;
    wide m = (wide)exp_avg[i];
    m += gain1 * (g - m);
    wide v = beta2 * (wide)exp_avg_sq[i] + gain2 * (g * g);
    exp_avg[i] = (real)m;
    exp_avg_sq[i] = (real)v;
    if (has_max) {
      const wide before = (wide)max_exp_avg_sq[i];
      v = before > v || before != before ? before : v;
      max_exp_avg_sq[i] = (real)v;
    }
    param[i] = (real)(p - rate * (m / (sqrt(v) / correction + eps)));
  }
}

extern "C" __global__ void mdl_rmsprop(
    real* __restrict__ param, const real* __restrict__ grad, real* __restrict__ square_avg,
    real* __restrict__ grad_avg, real* __restrict__ momentum_buffer, int centered, int has_momentum,
    wide sign, wide lr, wide alpha, wide gain, wide eps, wide weight_decay, wide momentum,
    count_t count) {
  EACH(i, count) {
    const wide p = (wide)param[i];
    wide g = sign * (wide)grad[i];
    if (weight_decay != 0) g += weight_decay * p;
    wide square = alpha * (wide)square_avg[i] + gain * (g * g);
    square_avg[i] = (real)square;
    if (centered) {
      wide mean = (wide)grad_avg[i];
      mean += gain * (g - mean);
      grad_avg[i] = (real)mean;
      square -= mean * mean;
      if (square < 0) square = 0;
    }
    g /= sqrt(square) + eps;
    if (has_momentum) {
      g += momentum * (wide)momentum_buffer[i];
      momentum_buffer[i] = (real)g;
    }
    param[i] = (real)(p - lr * g);
  }
}
