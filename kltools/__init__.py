"""kltools: the small package behind the book *KL divergence, forward and backward*.

Conventions, everywhere: log-probabilities ``[..., V]`` in, nats ``[...]`` out; ``p`` is the data
(teacher, reference) and ``q`` the model; masks are ``bool``; losses return ``(sum, count)``, never
a mean of means; there is no ``eps`` argument. Import the module you need, as in
``from kltools import divergences``.
"""
