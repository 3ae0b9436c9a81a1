"""Objects as functions of the numbers that they hold."""

from collections import namedtuple
from types import MappingProxyType

import numpy as np
import pytest

from lenskern.interop._graph import Graph

Pair = namedtuple("Pair", "first second")


class Leaf:
    pass


class Node:
    def __init__(self, **values):
        self.__dict__.update(values)

    def value(self):
        return self.leaf


class Slotted:
    __slots__ = ("leaf", "rest")

    def __init__(self, leaf, rest):
        self.leaf, self.rest = leaf, rest


class Listed(list):
    pass


def graph(root, **options):
    return Graph(root, lambda node: isinstance(node, Leaf), **options)


def test_every_kind_of_holder():
    a, b = Leaf(), Leaf()
    listed = Listed([a])
    listed.name = "listed"
    root = Node(pair=Pair(a, 1), slots=Slotted(b, "rest"), many=[{"a": a}, {b}, frozenset([b])], listed=listed)
    root.bound = Node(leaf=a).value
    new = graph(root).rebuild([1.5, 2.5])
    assert new.pair == Pair(1.5, 1) and isinstance(new.pair, Pair)
    assert (new.slots.leaf, new.slots.rest) == (2.5, "rest")
    assert new.many == [{"a": 1.5}, {2.5}, frozenset([2.5])]
    assert new.listed == [1.5] and new.listed.name == "listed" and isinstance(new.listed, Listed)
    assert new.bound() == 1.5
    assert root.pair.first is a, "the original is as it was"


def test_references_stay_references():
    """Cycles, two ways to one object, keys that compare by identity."""
    key, leaf = Node(leaf=Leaf()), Leaf()
    root = Node(key=key, found={key: leaf}, again=key)
    root.me = root
    new = graph(root).rebuild([1.0, 2.0])
    assert new.me is new and new.again is new.key and new.key is not key
    assert sorted([new.key.leaf, new.found[new.key]]) == [1.0, 2.0]


def test_what_holds_no_leaf_is_shared():
    data, leaf = Node(values=[1, 2]), Leaf()
    root = Node(data=data, leaf=leaf)
    new = graph(root).rebuild([0.0])
    assert new.data is data and new is not root
    assert graph(Node(data=Node(leaf=leaf)), shared=()).leaves == [leaf]
    whole = Node(leaf=leaf)
    assert graph(Node(data=whole, leaf=Leaf()), shared=(whole,)).rebuild([0.0]).data is whole


def test_skip_and_replace():
    root = Node(leaf=Leaf(), cache=Leaf(), inner=Node(fast=True))
    found = graph(
        root,
        skip=lambda owner, name: name == "cache",
        replace=lambda name, value: False if name == "fast" else value,
    )
    new = found.rebuild([1.0])
    assert len(found.leaves) == 1 and vars(new).keys() == {"leaf", "inner"}
    assert new.inner.fast is False and root.inner.fast is True


def test_values_of_another():
    a = Leaf()
    found = graph(Node(first=a, second=[Leaf(), 3], other=Node(same=a)))
    assert found.values(Node(first=1.0, second=[2.0, 3], other=Node(same=1.0))) == [1.0, 2.0]


def test_names_and_caches_may_differ():
    found = graph(Node(first=Leaf(), fixed=Node(width=0.1, id=1, pytree_token=1, _cache=2, made=3)))
    assert found.values(Node(first=1.0, fixed=Node(width=0.1, id=7, pytree_token=7, _cache=8, later=9))) == [1.0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Listed(), "the object: expected a Node, got Listed"),
        (Node(first=1.0, second=[1.0]), "second: expected a list of 2, got 1"),
        (Node(first=1.0, second=[1.0, 4]), "second.1: expected 3, got 4"),
        (Node(first=1.0, second=[1.0, "3"]), "second.1: expected 3, got 3"),
        (Node(first=1.0, second=[1.0, 3], fixed=Node(width=[0.2])), "fixed.width.0: expected 0.1, got 0.2"),
        (Node(first=1.0, second=[1.0, 3], array=np.ones(3)), r"array: expected \[0. 0.\], got \[1. 1. 1.\]"),
        (Node(second=[1.0, 3]), "the object: expected an attribute 'first', got Node"),
        (Node(first=1.0, second=MappingProxyType({})), "second: expected a list, got mappingproxy"),
    ],
)
def test_another_build(other, message):
    found = graph(Node(first=Leaf(), second=[Leaf(), 3], fixed=Node(width=[0.1], id=1), array=np.zeros(2)))
    with pytest.raises(ValueError, match=message):
        found.values(other)
