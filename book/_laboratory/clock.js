// A clock in which every regime of the line can be followed, as tokensphere.one_dimension.clock has it.
// The state is tau = ln(1 + t/t0) and G_l = ln|x_l| of the tokens that are not zero; the variable is
// theta = ln(1 + c), c counting by how much any of these moves. All is kept as logarithms.

import {integrate} from "./integrate.js";

const LARGEST = Math.log(1e12); // of |s x| where s x < 0

function logStep(logY, up) {
  const y = Math.exp(Math.min(logY, 700));
  if (y > 37) {
    return up ? logY : -y;
  }
  return Math.log(Math.log1p(Math.exp(up ? y : -y)));
}

function logAddExp(p, q) {
  const [most, least] = p < q ? [q, p] : [p, q];
  return least > -Infinity ? most + Math.log1p(Math.exp(least - most)) : most;
}

export class Clock {
  constructor({mu, s, a, x0}) {
    this.moving = x0.flatMap((value, l) => (value === 0 ? [] : [l]));
    this.mu = mu;
    this.a = a;
    this.able = this.moving.map((l) => s * Math.sign(x0[l]) >= 0);
    this.zeros = this.moving.map((l, place) => (place ? l - this.moving[place - 1] - 1 : 0));
    this.logS = s === 0 ? -Infinity : Math.log(Math.abs(s));
    const logs = this.moving.map((l) => Math.log(Math.abs(x0[l])));
    if (logs.some((log, place) => !this.able[place] && this.logS + log > LARGEST)) {
      throw new Error("x0: holds a token whose step is too small to follow");
    }
    this.start = Float64Array.from([0, ...logs]);
    if (mu === 0 || !logs.length) {
      return;
    }
    const {top, weights} = this.drives(logs);
    this.logT0 = -Math.log(Math.abs(mu)) - top - Math.max(...weights);
  }

  // ln t, from tau.
  logTime(tau) {
    const some = Math.max(tau, 1e-300);
    return this.logT0 + some + Math.log(-Math.expm1(-some));
  }

  // ln of the largest own drive Delta x^2; by that one, logarithms of own drives and of W_l; dampings.
  drives(G) {
    const steps = this.able.map((up, place) => logStep(this.logS + G[place], up));
    const whole = steps.map((step, place) => step + 2 * G[place]);
    const top = Math.max(...whole);
    const own = whole.map((drive) => drive - top);
    const dampings = steps.map(
      (step, place) => this.a * (Math.exp(Math.min(step, 700)) + this.zeros[place] * Math.LN2),
    );
    let before = -Infinity;
    const weights = own.map((drive, place) => (before = logAddExp(drive, before - dampings[place])));
    return {top, own, weights, dampings};
  }

  // ln of a bound of the time until the blow-up, by t0 + t.
  logLeft(state) {
    const {top, own} = this.drives(state.subarray(1));
    const best = Math.max(...own.filter((_, place) => this.able[place]));
    return -(top + best + Math.log(2 * this.mu) + state[0] + this.logT0);
  }

  derivative(theta, state, out) {
    const {top, weights} = this.drives(state.subarray(1));
    const most = Math.max(...weights);
    const shares = weights.map((weight) => Math.exp(weight - most));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const pace = state[0] + this.logT0 + Math.log(Math.abs(this.mu)) + top + most + Math.log(total);
    const waiting = 1 / (1 + Math.exp(Math.min(pace, 700)));
    const moving = Math.sign(this.mu) / (1 + Math.exp(-Math.max(pace, -700)));
    const speed = Math.exp(theta);
    out[0] = speed * waiting;
    shares.forEach((share, place) => (out[1 + place] = (speed * moving * share) / total));
  }

  run(end, stop, options) {
    const derivative = (theta, state, out) => this.derivative(theta, state, out);
    // A finite end: the clock's variable is a logarithm, and 700 is beyond every float.
    return integrate(derivative, 0, this.start, Math.min(end, 700), {...options, stop});
  }
}
