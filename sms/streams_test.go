package sms

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"textback/pbx/bus"
)

// A list has every record, also those that are written anew while it is read.
func TestListsAreWhole(t *testing.T) {
	o := open(t, t.TempDir())
	const n, writers, lists = 40, 4, 60
	for i := range n {
		o.store(jobSubject(fmt.Sprintf("%d-1", i)), &Job{ID: fmt.Sprintf("%d-1", i), State: Sent})
	}
	ctx, done := o.ctx(), make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; ; i = (i + writers) % n {
				select {
				case <-done:
					return
				default:
				}
				id := fmt.Sprintf("%d-1", i)
				b, err := json.Marshal(&Job{ID: id, State: Sent, Attempt: 2})
				if err == nil {
					_, err = bus.Publish(ctx, o.nc, message(jobSubject(id), b, jobTTL))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range lists {
		if got := len(o.all()); got != n {
			t.Errorf("%d of %d", got, n)
		}
	}
	close(done)
	wg.Wait()
}
