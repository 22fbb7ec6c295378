package registry

import "hash/maphash"

// dict is a map that never changes: with returns another, which shares all but the few nodes on the way to the key.
// So a state of the registry costs what its command changed, however many tenants there are. The zero dict is empty.
type dict[K comparable, V any] struct{ root *dictNode[K, V] }

// dictNode has either children, by the next four bits of the hash, or the entries of one hash.
type dictNode[K comparable, V any] struct {
	children *[16]*dictNode[K, V]
	hash     uint64
	entries  []dictEntry[K, V]
}

type dictEntry[K comparable, V any] struct {
	key   K
	value V
}

// dictSeed differs from process to process, so that nobody can choose keys that share a hash.
var dictSeed = maphash.MakeSeed()

func (d dict[K, V]) get(key K) (value V, ok bool) {
	hash := maphash.Comparable(dictSeed, key)
	node := d.root
	for shift := 0; node != nil && node.children != nil; shift += 4 {
		node = node.children[hash>>shift&15]
	}
	if node != nil {
		for i := range node.entries {
			if node.entries[i].key == key {
				return node.entries[i].value, true
			}
		}
	}
	return value, false
}

// with returns the map with one more entry, or another value of the key.
func (d dict[K, V]) with(key K, value V) dict[K, V] {
	return dict[K, V]{d.root.with(maphash.Comparable(dictSeed, key), 0, dictEntry[K, V]{key, value})}
}

func (n *dictNode[K, V]) with(hash uint64, shift int, e dictEntry[K, V]) *dictNode[K, V] {
	switch {
	case n == nil:
		return &dictNode[K, V]{hash: hash, entries: []dictEntry[K, V]{e}}
	case n.children == nil && n.hash == hash:
		entries := make([]dictEntry[K, V], 0, len(n.entries)+1)
		for _, old := range n.entries {
			if old.key != e.key {
				entries = append(entries, old)
			}
		}
		return &dictNode[K, V]{hash: hash, entries: append(entries, e)}
	}
	var children [16]*dictNode[K, V]
	if n.children == nil {
		children[n.hash>>shift&15] = n // two hashes: the entries go one level down
	} else {
		children = *n.children
	}
	at := hash >> shift & 15
	children[at] = children[at].with(hash, shift+4, e)
	return &dictNode[K, V]{children: &children}
}

// all calls each for every entry, in no order.
func (d dict[K, V]) all(each func(key K, value V)) { d.root.all(each) }

func (n *dictNode[K, V]) all(each func(key K, value V)) {
	if n == nil {
		return
	}
	for _, e := range n.entries {
		each(e.key, e.value)
	}
	if n.children != nil {
		for _, child := range n.children {
			child.all(each)
		}
	}
}
