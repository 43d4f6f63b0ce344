"""Greedy and beam search written out plainly, over a function that gives log-probabilities: what
make_bart_vectors.py holds against transformers' generate, and asks how close each decision was.

A decision is a comparison of two candidates. `close` collects those whose sums of log-probabilities
lie less than LIMIT apart; `flip` takes one of them the other way. So the margin of a summary is
known: the smallest gap that, closed, gives another summary. Scores of hypotheses are sums divided
by length^length_penalty; a gap between two is given in units of the sum, too.
"""
import dataclasses

import numpy as np

LIMIT = 0.05
NEVER_CHOSEN = np.float32(-1e9)
START, EOS = 2, 2


@dataclasses.dataclass(frozen=True)
class Settings:
    num_beams: int
    length_penalty: float
    min_length: int
    max_length: int
    no_repeat_ngram_size: int
    early_stopping: object  # True, False or "never"


class Search:
    """One search. log_probs(prefixes) gives a float32 row of the vocabulary for each."""

    def __init__(self, settings, log_probs, forced_bos, forced_eos, flip=None):
        self.settings, self.log_probs, self.flip = settings, log_probs, flip
        self.forced_bos, self.forced_eos = forced_bos, forced_eos
        self.close = {}

    def chosen(self, what, gap, choice):
        """`choice`, or its opposite where this is the decision to flip."""
        gap = abs(float(gap))
        if gap < LIMIT:
            self.close[what] = gap
        return not choice if what == self.flip else choice

    def processed(self, prefixes):
        """Log-probabilities of the next token with bans and forced tokens. What is banned is -inf,
        and the others are not scaled up for it."""
        rows, length, n = self.log_probs(prefixes), len(prefixes[0]), \
            self.settings.no_repeat_ngram_size
        for row, prefix in zip(rows, prefixes):
            if n and length + 1 >= n:
                last = prefix[length - n + 1:]
                for i in range(length - n + 1):
                    if prefix[i:i + n - 1] == last:
                        row[prefix[i + n - 1]] = -np.inf
            if length < self.settings.min_length:
                row[EOS] = -np.inf
            for token, at in (self.forced_bos, 1), (self.forced_eos, self.settings.max_length - 1):
                if token is not None and length == at:
                    row[:] = -np.inf
                    row[token] = 0
        return rows

    def stops(self, sequence):
        return sequence[-1] == EOS or len(sequence) >= self.settings.max_length

    # ---- greedy ----

    def greedy(self):
        sequence = (START,)
        while len(sequence) == 1 or not self.stops(sequence):
            row = self.processed([sequence])[0]
            first, second = np.argsort(-row, kind="stable")[:2]
            first_wins = self.chosen(("token", len(sequence)), row[first] - row[second], True)
            sequence += (int(first if first_wins else second),)
        return sequence, 0.0

    # ---- beam search ----

    def candidates(self, running):
        """(sum, sequence) of every continuation that may count, best first: some more than the 2
        num_beams that are looked at, so that what was dropped is seen."""
        rows = self.processed([sequence for _, sequence in running])
        sums = (rows + np.array([s for s, _ in running], np.float32)[:, None]).ravel()
        size = rows.shape[1]
        best = np.argsort(-sums, kind="stable")[:6 * self.settings.num_beams]
        return [(sums[i], running[i // size][1] + (int(i % size),)) for i in best]

    def finished(self, candidates, length):
        """Those that stop and rank among the first num_beams; where they do not, they are lost."""
        K, result = self.settings.num_beams, []
        for rank, (total, sequence) in enumerate(candidates):
            if not self.stops(sequence):
                continue
            rival = candidates[K if rank < K else K - 1][0]
            if len(sequence) >= self.settings.max_length:
                accepted = rank < K
            else:
                accepted = self.chosen(("finish", length, rank), total - rival, rank < K)
            if accepted:
                result.append((total, sequence))
        return result

    def continued(self, candidates, length):
        """The best num_beams of those that do not stop."""
        K = self.settings.num_beams
        going = [c for c in candidates if not self.stops(c[1])]
        for kept in range(min(K, len(going))):
            for dropped in range(K, len(going)):
                gap = going[kept][0] - going[dropped][0]
                if not self.chosen(("keep", length, kept, dropped), gap, True):
                    going[kept], going[dropped] = going[dropped], going[kept]
                    return sorted(going[:K], key=lambda c: -c[0])
        return going[:K]

    def merged(self, hypotheses, new, length):
        """The best num_beams hypotheses; `new` are sums."""
        K, penalty = self.settings.num_beams, np.float32(length ** self.settings.length_penalty)
        both = hypotheses + [(total / penalty, sequence) for total, sequence in new]
        both.sort(key=lambda h: -h[0])
        if len(both) > K:
            gap = (both[K - 1][0] - both[K][0]) * penalty
            if not self.chosen(("drop", length), gap, True):
                both[K - 1] = both[K]
        return both[:K]

    def improves(self, running, hypotheses, length):
        """Whether the best that runs may still get better than the worst that is finished."""
        s = self.settings
        if len(hypotheses) < s.num_beams:
            return True
        longest = s.early_stopping == "never" and s.length_penalty > 0
        penalty = np.float32((s.max_length - 1 if longest else length) ** s.length_penalty)
        gap = running[0][0] / penalty - hypotheses[-1][0]
        return self.chosen(("improve", length), gap * penalty, gap > 0)

    def beams(self):
        K, settings = self.settings.num_beams, self.settings
        running = [(np.float32(0) if k == 0 else NEVER_CHOSEN, (START,)) for k in range(K)]
        hypotheses = []
        while True:
            length = len(running[0][1])  # with the start token, so that of the result without it
            candidates = self.candidates(running)
            new = self.finished(candidates[:2 * K], length)
            running = self.continued(candidates, length)
            hypotheses = self.merged(hypotheses, new, length)
            if not running or length + 1 >= settings.max_length:
                break
            if settings.early_stopping is True and len(hypotheses) == K:
                break
            if not self.improves(running, hypotheses, length):
                break
        return self.best(hypotheses)

    def best(self, hypotheses):
        for i, (score, sequence) in enumerate(hypotheses[1:], 1):
            length = min(len(sequence), len(hypotheses[0][1])) - 1
            gap = (hypotheses[0][0] - score) * length ** self.settings.length_penalty
            if not self.chosen(("best", i), gap, True):
                return sequence, float(score)
        return hypotheses[0][1], float(hypotheses[0][0])

    def run(self):
        return self.greedy() if self.settings.num_beams == 1 else self.beams()


def search(settings, log_probs, forced_bos, forced_eos):
    """The sequence, its score (0 for greedy), the margin and the smallest gap of any decision.
    Both are at most LIMIT, which then means that or more."""
    plain = Search(settings, log_probs, forced_bos, forced_eos)
    sequence, score = plain.run()
    for what, gap in sorted(plain.close.items(), key=lambda pair: pair[1]):
        other = Search(settings, log_probs, forced_bos, forced_eos, flip=what)
        if other.run()[0] != sequence:
            return sequence, score, gap, min(plain.close.values())
    return sequence, score, LIMIT, min(plain.close.values(), default=LIMIT)
