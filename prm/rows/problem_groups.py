"""Which training rows are of one problem, across data sets that each give problems ids of their own, or none."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from prm.problems import equality_form
from prm.rows.step_rows import RowT


def unify_groups(datasets: Sequence[Sequence[RowT]]) -> list[list[RowT]]:
    """The rows of each data set, such that the rows of one problem have one `group`, and those of another have not.

    Rows are of one problem where their texts are equal, letter case and whitespace aside, or where they stand in one
    data set under one id (a problem that is worded in two ways). Ids of two data sets are not compared: both may have
    a problem "7". Ids stay as they are but where a name is taken by another problem, or where texts show that two ids
    mean one problem, which gets the first of them.
    """
    problems = _Partition()
    pairs: list[dict[tuple[str, str], Hashable]] = []
    for number, rows in enumerate(datasets):
        seen: dict[tuple[str, str], Hashable] = {}
        for row in rows:
            key = (row.group, row.prompt)
            if key not in seen:
                seen[key] = (number, row.group)
                problems.join((number, row.group), equality_form(row.prompt))
        pairs.append(seen)
    names = _names(problems, (place for seen in pairs for place in seen.values()))
    return [
        [row.in_group(names[problems.find((number, row.group))]) for row in rows]
        for number, rows in enumerate(datasets)
    ]


def _names(problems: _Partition, places: Iterator[Hashable]) -> dict[Hashable, str]:
    """A name for each problem: its first id, with a number behind it where that is another problem's already."""
    names: dict[Hashable, str] = {}
    taken: set[str] = set()
    for place in places:
        problem = problems.find(place)
        if problem in names:
            continue
        assert isinstance(place, tuple)
        first = name = str(place[1])
        count = 1
        while name in taken:
            count += 1
            name = f"{first} ({count})"
        names[problem] = name
        taken.add(name)
    return names


class _Partition:
    """Sets of things that are one, joined two at a time (union-find with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        """The one that stands for the item's set."""
        parent = self._parent
        while (above := parent.setdefault(item, item)) != item:
            parent[item] = item = parent[above]
        return item

    def join(self, first: Hashable, second: Hashable) -> None:
        """Make the sets of both one."""
        self._parent[self.find(second)] = self.find(first)
