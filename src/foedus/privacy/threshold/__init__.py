"""Sums that only all key holders together can open: additive RLWE encryption whose key nobody has.

EXPERIMENTAL: no outside cryptographer has reviewed this package. It is off unless a configuration says
`accept_unreviewed: true`. Masks (`privacy/secure_sum`) rest on less, cost less, and let participants vanish.

Source: Mouchet, Troncoso-Pastoriza, Bossuat and Hubaux 2021, "Multiparty homomorphic encryption from
ring-learning-with-errors", ePrint 2020/304, sections 4 and 5: additive keys, BFV, key-switching to nothing.
"""
