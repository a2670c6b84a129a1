"""Expected shares of the circle by kind of limit, for Gaussian parameters."""

from flint import acb, arb, ctx, fmpq

from tokensphere.door import takes, whole

from .lines import KINDS


@takes(precision=whole(16, 2**16))
def gaussian_shares(precision: int = 128) -> dict[str, arb]:
    """Expected shares of first tokens by kind of limit, D = 2, S_BC and S_Delta standard Gaussian.

    With X = chi_2(1/sqrt 2), chi_2(k) = (Li_2(k) - Li_2(-k)) / 2, and
    J = int_0^{pi/2} h arcsin(sin(h)/sqrt 2) dh,

        zero of the form     5/(24 sqrt 2) + 3 X/pi^2 - 4 J/pi^3,
        equal steps          1/4 - 1/(24 sqrt 2) - X/pi^2 + 2 J/pi^3,
        coordinate vector    3/4 - 1/(6 sqrt 2) - 2 X/pi^2 + 2 J/pi^3,

    and J = pi^3/32 - C ln(2)/2 + T/2 with Catalan's constant C and
    T = Im[ln^2(w) ln(1 - w) + 2 ln(w) Li_2(w) - 2 Li_3(w)], w = 1 + i.
    """
    with ctx.workprec(precision):
        pi, k = arb.pi(), 1 / arb(2).sqrt()
        chi = (acb(k).polylog(2) - acb(-k).polylog(2)).real / 2
        w = acb(1, 1)
        log = w.log()
        T = (log**2 * acb(0, -1).log() + 2 * log * w.polylog(2) - 2 * w.polylog(3)).imag
        J = pi**3 / 32 - arb.const_catalan() * arb.const_log2() / 2 + T / 2
        return {
            KINDS[0]: fmpq(3, 4) - k / 6 - 2 * chi / pi**2 + 2 * J / pi**3,
            KINDS[1]: fmpq(1, 4) - k / 24 - chi / pi**2 + 2 * J / pi**3,
            KINDS[2]: fmpq(5, 24) * k + 3 * chi / pi**2 - 4 * J / pi**3,
        }
