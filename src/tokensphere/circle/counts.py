"""Counts of first tokens by their limits, against shares that are proved."""

from scipy.stats import binomtest

from tokensphere.door import share, takes, whole


@takes(count=whole(0), unresolved=whole(0), draws=whole(1), share=share())
def p_value(count: int, unresolved: int, draws: int, share: float) -> float:
    """Two-sided binomial p-value of `count` of `draws` ends of one kind, by its share.

    Each of the `unresolved` draws may belong to this kind, too: the count is held against the share
    from below with all of them, from above with none.

    Raises:
        ValueError: counts that exceed the draws.
    """
    if count + unresolved > draws:
        raise ValueError(f"count: {count} with {unresolved} unresolved, takes {draws} at most")
    low = binomtest(count + unresolved, draws, share, alternative="less").pvalue
    high = binomtest(count, draws, share, alternative="greater").pvalue
    return float(min(1.0, 2 * min(low, high)))
