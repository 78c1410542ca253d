package bots

import (
	"errors"
	"slices"
)

// automaton finds which of many texts occur in another, in one pass over it however many there are: the automaton of Aho
// and Corasick (CACM 18(6), 1975). States near the root, where nearly all of the time goes with user agents of browsers,
// have a table for all bytes; the others have the few edges that they have, and a state to go on from where none fits.
// It is immutable. A table for every state would be some megabytes, for no difference that can be measured.
type automaton struct {
	dense [][256]uint16 // of the first states
	edges []edges       // of each state, for those without a table
	fails []uint16      // of each state: the state for the longest suffix that is a prefix of a text
	found [][]uint16    // of each state: which texts end here, those that are suffixes of others among them
}

type edges struct {
	bytes []byte // sorted
	to    []uint16
}

// maxStates is what fits into the numbers of states: as many as all texts have bytes, and one.
const maxStates = 1<<16 - 1

var errTooMuch = errors.New("too many patterns: together they may have 65,000 bytes")

// trie is how an automaton begins: a tree of the texts' prefixes.
type trie struct {
	next  []map[byte]uint16
	depth []int
	found [][]uint16
}

func newTrie(texts []string) (*trie, error) {
	t := &trie{next: []map[byte]uint16{{}}, depth: []int{0}, found: [][]uint16{nil}}
	for id, text := range texts {
		at := uint16(0)
		for i := range len(text) {
			to, ok := t.next[at][text[i]]
			if !ok {
				if len(t.next) == maxStates {
					return nil, errTooMuch
				}
				to = uint16(len(t.next))
				t.next, t.depth, t.found = append(t.next, map[byte]uint16{}), append(t.depth, i+1), append(t.found, nil)
				t.next[at][text[i]] = to
			}
			at = to
		}
		t.found[at] = append(t.found[at], uint16(id))
	}
	return t, nil
}

// newAutomaton compiles texts, none of which is empty.
func newAutomaton(texts []string) (*automaton, error) {
	t, err := newTrie(texts)
	if err != nil {
		return nil, err
	}
	order := t.byDepth()
	a := &automaton{edges: make([]edges, len(order)), fails: make([]uint16, len(order)), found: make([][]uint16, len(order))}
	number := make([]uint16, len(order)) // of a state of the tree, in the automaton
	for n, s := range order {
		number[s] = uint16(n)
	}
	for n, s := range order {
		e := &a.edges[n]
		for c := range t.next[s] {
			e.bytes = append(e.bytes, c)
		}
		slices.Sort(e.bytes)
		for _, c := range e.bytes {
			e.to = append(e.to, number[t.next[s][c]])
		}
		a.found[n] = append(a.found[n], t.found[s]...)
	}
	for n := range order { // parents and shorter states come first
		a.link(uint16(n))
		if t.depth[order[n]] <= 1 {
			a.tabulate(uint16(n))
		}
	}
	return a, nil
}

// byDepth lists the states of the tree, those nearest to the root first.
func (t *trie) byDepth() []uint16 {
	order := make([]uint16, len(t.next))
	for i := range order {
		order[i] = uint16(i)
	}
	slices.SortStableFunc(order, func(a, b uint16) int { return t.depth[a] - t.depth[b] })
	return order
}

// link gives the children of a state the state to go on from, and what ends there too.
func (a *automaton) link(n uint16) {
	e := &a.edges[n]
	for i, c := range e.bytes {
		child := e.to[i]
		if n != 0 {
			a.fails[child] = a.step(a.fails[n], c)
		}
		a.found[child] = append(a.found[child], a.found[a.fails[child]]...)
	}
}

// tabulate makes the table of the next state that has none.
func (a *automaton) tabulate(n uint16) {
	var table [256]uint16
	if n != 0 {
		table = a.dense[a.fails[n]] // which is nearer to the root
	}
	for i, c := range a.edges[n].bytes {
		table[c] = a.edges[n].to[i]
	}
	a.dense = append(a.dense, table)
}

// step is the state after a byte.
func (a *automaton) step(n uint16, c byte) uint16 {
	for int(n) >= len(a.dense) {
		e := &a.edges[n]
		for i, have := range e.bytes {
			if have == c {
				return e.to[i]
			}
		}
		if n == 0 {
			return 0 // only while there are no tables
		}
		n = a.fails[n]
	}
	return a.dense[n][c]
}

// find calls visit with the number of each text that occurs, once for every place where it ends.
func (a *automaton) find(text string, visit func(id uint16)) {
	n := uint16(0)
	for i := range len(text) {
		n = a.step(n, text[i])
		for _, id := range a.found[n] {
			visit(id)
		}
	}
}
