package ari

import "sync"

// queue holds raw events between the socket and the tracker. It grows as it
// must: an event dropped for a slow reader would be a wrong verdict later.
type queue struct {
	mu    sync.Mutex
	items []message
	ready chan struct{} // holds one token when items may be there
	high  int           // most items since the last look
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) put(m message) {
	q.mu.Lock()
	q.items = append(q.items, m)
	q.high = max(q.high, len(q.items))
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take swaps the waiting items for an empty slice, which it may reuse.
func (q *queue) take(empty []message) []message {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = empty[:0]
	return items
}

// depth tells the most items that waited since the last call.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	high := q.high
	q.high = len(q.items)
	return high
}
