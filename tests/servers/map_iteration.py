"""A repair of the source of old Kubernetes, so that it can be built with a newer Go than it knew."""

from __future__ import annotations

from pathlib import Path

# What the vendored reflect2 1.0.1 does by calling into the runtime, done by the public package reflect.
MAP_ITERATION = """\
func (type2 *UnsafeMapType) UnsafeIterate(obj unsafe.Pointer) MapIterator {
	iter := reflect.NewAt(type2.Type, obj).Elem().MapRange()
	return &UnsafeMapIterator{iter, iter.Next(), type2.pKeyRType, type2.pElemRType}
}

type UnsafeMapIterator struct {
	iter       *reflect.MapIter
	more       bool
	pKeyRType  unsafe.Pointer
	pElemRType unsafe.Pointer
}

func (iter *UnsafeMapIterator) HasNext() bool {
	return iter.more
}

func (iter *UnsafeMapIterator) Next() (interface{}, interface{}) {
	key, elem := iter.UnsafeNext()
	return packEFace(iter.pKeyRType, key), packEFace(iter.pElemRType, elem)
}

func (iter *UnsafeMapIterator) UnsafeNext() (unsafe.Pointer, unsafe.Pointer) {
	key, elem := copied(iter.iter.Key()), copied(iter.iter.Value())
	iter.more = iter.iter.Next()
	return key, elem
}

func copied(value reflect.Value) unsafe.Pointer {
	target := reflect.New(value.Type())
	target.Elem().Set(value)
	return unsafe.Pointer(target.Pointer())
}
"""


def repair_map_iteration(tree: Path) -> None:
    """Make the API server survive a custom resource, where it is built with Go 1.18 or later.

    Go 1.18 changed the function that reflect2 1.0.1 iterates maps with; every sorted map crashes the process since.
    """
    file = tree / "vendor/github.com/modern-go/reflect2/unsafe_map.go"
    before, _, after = file.read_text().partition("func (type2 *UnsafeMapType) UnsafeIterate")
    if "mapiterinit(" in after:
        file.write_text(before + MAP_ITERATION)
