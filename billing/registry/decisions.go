package registry

import "sync"

// decisions are what is remembered of the commands that were decided before a state. Those of a history's states are in
// one index, up to the state's offset; what else was decided on such a state, or on one of no history, is beside it.
type decisions struct {
	index  *decisionIndex // nil where there is none
	before int64          // the offset before which it is of this state
	beside dict[commandKey, decision]
}

func (d decisions) get(key commandKey) (decision, bool) {
	if known, ok := d.beside.get(key); ok || d.index == nil {
		return known, ok
	}
	return d.index.get(key, d.before)
}

func (d decisions) with(key commandKey, known decision) decisions {
	d.beside = d.beside.with(key, known)
	return d
}

// indexed returns the same, all of it in the index, which has what was decided before the offset.
func (d decisions) indexed(index *decisionIndex, before int64) decisions {
	index.mu.Lock()
	defer index.mu.Unlock()
	d.beside.all(func(key commandKey, known decision) { index.all[key] = known })
	return decisions{index: index, before: before}
}

// decisionIndex has what a history remembers of its commands, so that its states need not each have a path of their own
// to it. It only grows.
type decisionIndex struct {
	mu  sync.RWMutex
	all map[commandKey]decision
}

func (i *decisionIndex) get(key commandKey, before int64) (decision, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if known, ok := i.all[key]; ok && known.offset < before {
		return known, true
	}
	return decision{}, false
}
