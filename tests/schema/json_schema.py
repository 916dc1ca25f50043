"""As much of JSON Schema (draft 2020-12) as the schemas of mesh have."""

import re

# What says nothing of whether a value is good.
_WORDS = {"$schema", "$defs", "title", "description", "default", "then"}

_TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
}


def _is_number(value):
    return _TYPES["number"](value)


def _same(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


class Schema:
    """A schema, as `json` reads it."""

    def __init__(self, root):
        self._root = root

    def takes(self, value):
        """Whether `value` is good."""
        return self._takes(self._root, value)

    def _takes(self, schema, value):
        return all(
            word in _WORDS or getattr(self, "_" + word.lstrip("$"))(said, value, schema)
            for word, said in schema.items()
        )

    def _ref(self, said, value, _):
        assert said.startswith("#/$defs/"), said
        return self._takes(self._root["$defs"][said[len("#/$defs/") :]], value)

    def _type(self, said, value, _):
        return any(_TYPES[t](value) for t in ([said] if isinstance(said, str) else said))

    def _enum(self, said, value, _):
        return any(_same(value, one) for one in said)

    def _const(self, said, value, _):
        return _same(value, said)

    def _pattern(self, said, value, _):
        return not isinstance(value, str) or re.search(said, value) is not None

    def _minLength(self, said, value, _):
        return not isinstance(value, str) or len(value) >= said

    def _maxLength(self, said, value, _):
        return not isinstance(value, str) or len(value) <= said

    def _minimum(self, said, value, _):
        return not _is_number(value) or value >= said

    def _maximum(self, said, value, _):
        return not _is_number(value) or value <= said

    def _minItems(self, said, value, _):
        return not isinstance(value, list) or len(value) >= said

    def _uniqueItems(self, said, value, _):
        return not said or not isinstance(value, list) or len(set(map(str, value))) == len(value)

    def _items(self, said, value, _):
        return not isinstance(value, list) or all(self._takes(said, item) for item in value)

    def _required(self, said, value, _):
        return not isinstance(value, dict) or all(name in value for name in said)

    def _properties(self, said, value, _):
        return not isinstance(value, dict) or all(
            self._takes(schema, value[name]) for name, schema in said.items() if name in value
        )

    def _propertyNames(self, said, value, _):
        return not isinstance(value, dict) or all(self._takes(said, name) for name in value)

    def _additionalProperties(self, said, value, schema):
        if not isinstance(value, dict):
            return True
        known = schema.get("properties", {})
        others = [inner for name, inner in value.items() if name not in known]
        return not others if said is False else all(self._takes(said, one) for one in others)

    def _anyOf(self, said, value, _):
        return any(self._takes(one, value) for one in said)

    def _allOf(self, said, value, _):
        return all(self._takes(one, value) for one in said)

    def _oneOf(self, said, value, _):
        return sum(self._takes(one, value) for one in said) == 1

    def _not(self, said, value, _):
        return not self._takes(said, value)

    def _if(self, said, value, schema):
        return not self._takes(said, value) or self._takes(schema["then"], value)
