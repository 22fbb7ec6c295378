package registry

import (
	"sort"
	"sync"
)

// shared is a dict of a state. The states of a history have one index, in which each sees what was set before it, so
// that none needs a path of its own to what its command has set. What was set otherwise is beside the index: on such a
// state by a dry run, or on one of no history.
type shared[K comparable, V any] struct {
	index  *index[K, V] // nil where there is none
	before int64        // the offset before which it is of this state
	beside dict[K, V]
}

func (s shared[K, V]) get(key K) (value V, ok bool) {
	if value, ok = s.beside.get(key); ok || s.index == nil {
		return value, ok
	}
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return at(s.index.set[key], s.before)
}

// with returns the dict with one more entry, or another value of the key.
func (s shared[K, V]) with(key K, value V) shared[K, V] {
	s.beside = s.beside.with(key, value)
	return s
}

// all calls each, which must not use the dict, for every entry, in no order.
func (s shared[K, V]) all(each func(key K, value V)) {
	s.beside.all(each)
	if s.index == nil {
		return
	}
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	for key, values := range s.index.set {
		if value, ok := at(values, s.before); ok {
			if _, later := s.beside.get(key); !later {
				each(key, value)
			}
		}
	}
}

// index has the values of each key by the offsets of the commands that set them, in order. It only grows.
type index[K comparable, V any] struct {
	mu  sync.RWMutex
	set map[K][]setAt[V]
}

type setAt[V any] struct {
	offset int64
	value  V
}

// at returns the last value that was set before an offset.
func at[V any](values []setAt[V], before int64) (value V, ok bool) {
	n := len(values)
	if n > 0 && values[n-1].offset >= before {
		n = sort.Search(n, func(i int) bool { return values[i].offset >= before })
	}
	if n == 0 {
		return value, false
	}
	return values[n-1].value, true
}

// take moves what the command at an offset has set, beside the index, into it.
func (i *index[K, V]) take(s shared[K, V], offset int64) shared[K, V] {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set == nil {
		i.set = map[K][]setAt[V]{}
	}
	s.beside.all(func(key K, value V) { i.set[key] = append(i.set[key], setAt[V]{offset, value}) })
	return shared[K, V]{index: i, before: offset + 1}
}
