"""Objects of Python as functions of the numbers that they hold, however deep and whether or not they are pytrees."""

import types

import numpy as np

# What holds no other object that could be a leaf.
_ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    np.ndarray,
    np.generic,
    np.dtype,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    property,
)


class Graph:
    """The objects that can be reached from one, with some of them, the leaves, to be replaced.

    Only objects through which a leaf can be reached are copied by `rebuild`; all others are shared between copies. Two
    references to one object are two references to one copy, so a dict still finds its keys.

    Parameters
    ----------
    root : object
    is_leaf : callable
        Whether an object is a leaf; each is one however often it is met.
    skip : callable, optional
        Of an object and the name of one of its attributes: True leaves the attribute out of all copies.
    replace : callable, optional
        Of the name of an attribute and its value: the value of copies, by default the same. An object of which an
        attribute is replaced is copied too.
    shared : sequence of object
        Not looked into.

    Attributes
    ----------
    leaves : list
        In the order in which they are met.
    """

    def __init__(self, root, is_leaf, *, skip=lambda owner, name: False, replace=lambda name, value: value, shared=()):
        self.root, self.leaves = root, []
        self._skip, self._replace = skip, replace
        self._place = {}
        self._copied = self._explore(is_leaf, {id(s) for s in shared})

    def _explore(self, is_leaf, shared):
        parents, todo, changed = {id(self.root): []}, [self.root], []
        # an id says who an object is only while the object lives
        self._alive = []
        while todo:
            node = todo.pop()
            self._alive.append(node)
            if is_leaf(node):
                self._place[id(node)] = len(self.leaves)
                self.leaves.append(node)
                changed.append(id(node))
                continue
            if isinstance(node, _ATOMS) or id(node) in shared:
                continue
            if any(self._replace(name, value) is not value for name, value in _attributes(node).items()):
                changed.append(id(node))
            for child in reversed(self._children(node)):
                if id(child) not in parents:
                    parents[id(child)] = []
                    todo.append(child)
                parents[id(child)].append(id(node))
        copied = set()
        while changed:
            node = changed.pop()
            if node not in copied:
                copied.add(node)
                changed += parents[node]
        return copied

    def _children(self, node):
        if isinstance(node, types.MethodType):
            return [node.__self__]
        found = []
        if isinstance(node, dict):
            found += [part for item in node.items() for part in item]
        elif isinstance(node, list | tuple | set | frozenset):
            found += node
        return found + [value for name, value in _attributes(node).items() if not self._skip(node, name)]

    def rebuild(self, leaves):
        """The root, with other leaves.

        Parameters
        ----------
        leaves : sequence
            One for each of `leaves`, in their order.
        """
        memo = {node: leaves[place] for node, place in self._place.items()}
        return self._copy(self.root, memo)

    def _copy(self, node, memo):
        if id(node) not in self._copied:
            return node
        if id(node) in memo:
            return memo[id(node)]
        cls = type(node)
        if isinstance(node, types.MethodType):
            new = memo[id(node)] = types.MethodType(node.__func__, self._copy(node.__self__, memo))
            return new
        if isinstance(node, tuple | frozenset):
            parts = [self._copy(part, memo) for part in node]
            new = cls._make(parts) if hasattr(cls, "_make") else cls.__new__(cls, parts)
        else:
            new = cls.__new__(cls)
        memo[id(node)] = new
        if isinstance(node, dict):
            for key, value in node.items():
                dict.__setitem__(new, self._copy(key, memo), self._copy(value, memo))
        elif isinstance(node, list):
            list.extend(new, [self._copy(part, memo) for part in node])
        elif isinstance(node, set):
            set.update(new, [self._copy(part, memo) for part in node])
        for name, value in _attributes(node).items():
            if not self._skip(node, name):
                _set(new, name, self._replace(name, self._copy(value, memo)))
        return new

    def values(self, other, convert=lambda value: value):
        """Leaves of another object of the same build, at the places where those of the root are.

        Whatever else the two hold by public names has to be equal, but for the numbers that tell objects apart.

        Parameters
        ----------
        other : object
            Like the root but for its leaves.
        convert : callable

        Returns
        -------
        list

        Raises
        ------
        ValueError
            If the other object is built in another way, or holds another number, string or array elsewhere.
        """
        found, seen, todo = {}, set(), [(self.root, other, ())]
        while todo:
            mine, theirs, path = todo.pop()
            if id(mine) in self._place:
                found.setdefault(self._place[id(mine)], convert(theirs))
            elif mine is not theirs and id(mine) not in seen:
                if isinstance(mine, _VALUES):
                    if not _equal(mine, theirs):
                        raise _differ(path, mine, theirs)
                elif not isinstance(mine, _ATOMS):
                    seen.add(id(mine))
                    todo += self._pairs(mine, theirs, path)
        return [found[place] for place in range(len(self.leaves))]

    def _pairs(self, mine, theirs, path):
        if type(mine) is not type(theirs):
            raise _differ(path, f"a {type(mine).__name__}", type(theirs).__name__)
        pairs = []
        if isinstance(mine, dict | list | tuple):
            if len(mine) != len(theirs):
                raise _differ(path, f"a {type(mine).__name__} of {len(mine)}", len(theirs))
            # keys that compare by identity are other objects there: the order pairs them
            parts = (mine.values(), theirs.values()) if isinstance(mine, dict) else (mine, theirs)
            names = mine if isinstance(mine, dict) else range(len(mine))
            pairs += [(a, b, (*path, name)) for name, a, b in zip(names, *parts, strict=True)]
        others = _attributes(theirs)
        for name, value in _attributes(mine).items():
            if id(value) in self._copied and not self._skip(mine, name):
                if name not in others:
                    raise _differ(path, f"an attribute {name!r}", type(theirs).__name__)
                pairs.append((value, others[name], (*path, name)))
            elif name in others and name not in _IDENTITIES and not name.startswith("_"):
                pairs.append((value, others[name], (*path, name)))
        return pairs


# Attributes that PyAutoFit and PyAutoGalaxy count up with every object that is made.
_IDENTITIES = ("id", "pytree_token")

# What is compared where two objects have to be equal.
_VALUES = (bool, int, float, complex, str, bytes, np.ndarray, np.generic)


def _equal(mine, theirs):
    try:
        return np.array_equal(mine, theirs, equal_nan=np.asarray(mine).dtype.kind in "fc")
    except TypeError:
        return False


def _differ(path, expected, got):
    return ValueError(f"{'.'.join(map(str, path)) or 'the object'}: expected {expected}, got {got}")


def _attributes(node):
    """What an object holds by name, in ``__dict__`` and in slots."""
    found = dict(getattr(node, "__dict__", ()))
    for cls in type(node).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(node, name):
                found[name] = getattr(node, name)
    return found


def _set(node, name, value):
    if hasattr(node, "__dict__") and name not in _slots(type(node)):
        node.__dict__[name] = value
    else:
        object.__setattr__(node, name, value)


def _slots(cls):
    return {name for base in cls.__mro__ for name in base.__dict__.get("__slots__", ())}
