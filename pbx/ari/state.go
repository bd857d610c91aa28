package ari

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// states are the device states and variables that the admin asked for, as far
// as they are known: their last changes, so that a call can be told what held
// when it ended. They are safe for concurrent use.
type states struct {
	mu      sync.Mutex
	changes map[string][]change // oldest first
	heard   map[string]time.Time
	asker   time.Time // when the first call began for which variables are to be asked
	legs    []string  // of calls that began lately, on which functions can be asked; oldest first

	// Functions can be asked on a call only. What they were is good for a while
	// after that.
	confirmed map[string]time.Time // by function
	good      time.Duration
}

func newStates(opt *Options) *states {
	s := &states{changes: map[string][]change{}, heard: map[string]time.Time{}, confirmed: map[string]time.Time{}, good: 2*opt.VariablesEvery + time.Second}
	for _, name := range opt.Variables {
		if isFunction(name) {
			s.confirmed[name] = time.Time{}
		}
	}
	return s
}

// isFunction reports whether a variable is a dialplan function, such as
// GLOBAL(NIGHTMODE). ARI tells those on a channel only: GET /asterisk/variable
// answers every function with an empty value. DB() it does not tell at all.
func isFunction(name string) bool { return strings.HasSuffix(name, ")") }

// A change is a value from a time on; an empty one is not known.
type change struct {
	at    time.Time // by the PBX's clock
	value string
}

// keptChanges is how many changes of one value are remembered: a call is told of
// a few seconds after its end.
const keptChanges = 8

// set takes a value that holds from at on. Changes may come a little out of
// order, but not before the last of all.
func (s *states) set(key, value string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.changes[key]
	if n := len(all); n > 0 && all[n-1].value == value || n == 0 && value == "" {
		return
	}
	if len(all) == keptChanges {
		all = append(all[:0:0], all[1:]...)
	}
	s.changes[key] = append(all, change{at, value})
}

// forget is said when nothing is known any more.
func (s *states) forget(at time.Time) {
	s.mu.Lock()
	keys := make([]string, 0, len(s.changes))
	for k := range s.changes {
		keys = append(keys, k)
	}
	s.mu.Unlock()
	for _, k := range keys {
		s.set(k, "", at)
	}
}

// at is what was known at a time; nil when nothing was.
func (s *states) at(t time.Time) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]string
	for k, all := range s.changes {
		if seen, isFunction := s.confirmed[k]; isFunction && t.After(seen.Add(s.good)) {
			continue
		}
		for i := len(all) - 1; i >= 0; i-- {
			if i > 0 && all[i].at.After(t) {
				continue
			}
			// What the PBX said first is taken to have held before: it was asked for
			// when the connection came up.
			if all[i].value != "" {
				if out == nil {
					out = map[string]string{}
				}
				out[k] = all[i].value
			}
			break
		}
	}
	return out
}

// States tells the device states and variables of Options.States and
// Options.Variables as they were at a time of late, by the PBX's clock. What is
// not known is not in it; the map is the caller's. It is safe for concurrent use.
func (c *Client) States(at time.Time) map[string]string { return c.states.at(at) }

// maxLegs bounds the calls on which functions are asked.
const maxLegs = 32

// RefreshVariables has the variables asked for now instead of at their next
// turn: a call began with this leg, at a time by the PBX's clock, and what they are
// found to be is taken to have held from then on. It returns at once.
func (c *Client) RefreshVariables(leg string, began time.Time) {
	c.states.mu.Lock()
	if c.states.asker.IsZero() {
		c.states.asker = began
	}
	if c.states.legs = append(c.states.legs, leg); len(c.states.legs) > maxLegs {
		c.states.legs = c.states.legs[1:]
	}
	c.states.mu.Unlock()
	select {
	case c.refresh <- struct{}{}:
	default:
	}
}

// deviceState takes an event if it is about a device that is asked for. It
// reports whether it was a DeviceStateChanged.
func (c *Client) deviceState(m *message) bool {
	if len(c.opt.States) == 0 || len(m.data) > 1000 || gjson.GetBytes(m.data, "type").Str != deviceStateChanged {
		return false
	}
	name := gjson.GetBytes(m.data, "device_state.name").String()
	if key, ok := c.stateKeys[strings.ToLower(name)]; ok {
		at, err := parseTime(gjson.GetBytes(m.data, "timestamp").Str)
		if err != nil {
			at = c.pbxNow()
		}
		c.states.hear(key, m.at)
		c.states.set(key, known(gjson.GetBytes(m.data, "device_state.state").String()), at)
	}
	return true
}

const deviceStateChanged = "DeviceStateChanged"

// hear notes that an event told of a key, at our own time.
func (s *states) hear(key string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[key] = at
}

// heardSince reports whether an event has told of a key since a time of ours:
// then an answer that was asked for before is older.
func (s *states) heardSince(key string, t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[key].After(t)
}

// known is empty for the words of Asterisk that mean it does not know.
func known(state string) string {
	if state == "UNKNOWN" || state == "INVALID" {
		return ""
	}
	return state
}

// AskState asks for a device's state, such as "INUSE"; empty when Asterisk
// does not know.
func (c *Client) AskState(ctx context.Context, device string) (string, error) {
	b, err := c.call(ctx, http.MethodGet, "/deviceStates/"+url.PathEscape(device), nil, nil)
	if err != nil {
		return "", err
	}
	return known(gjson.GetBytes(b, "state").String()), nil
}

// AskVariable asks for a global variable; empty when there is no such variable,
// or it is empty.
func (c *Client) AskVariable(ctx context.Context, name string) (string, error) {
	return c.ask(ctx, "/asterisk/variable", name)
}

func (c *Client) ask(ctx context.Context, path, name string) (string, error) {
	b, err := c.call(ctx, http.MethodGet, path, url.Values{"variable": {name}}, nil)
	if err != nil {
		return "", err
	}
	value := gjson.GetBytes(b, "value").String()
	if len(value) > maxValue {
		return "", fmt.Errorf("its value is longer than %d bytes", maxValue)
	}
	return strings.ToValidUTF8(value, "\uFFFD"), nil
}

// maxValue bounds a variable's value: it goes into every call's event.
const maxValue = 256

// asked is what devices were in when they were asked for.
type asked struct {
	began  time.Time // by our clock
	states map[string]string
}

// askStates asks for every device's state. One that cannot be told is empty.
func (c *Client) askStates(ctx context.Context) (asked, error) {
	a := asked{began: time.Now(), states: map[string]string{}}
	for _, device := range c.opt.States {
		state, err := c.AskState(ctx, device)
		if err != nil {
			if code := status(err); code == 0 || code == http.StatusUnauthorized {
				return a, err
			}
			c.saysOnce(device, fmt.Sprintf("Asterisk does not tell the state of device %s: rules that ask for it do not match", device), err)
		}
		a.states[device] = state
	}
	return a, nil
}

// watchVariables asks for the variables over and over until ctx ends.
func (c *Client) watchVariables(ctx context.Context) {
	if len(c.opt.Variables) == 0 {
		return
	}
	tick := time.NewTicker(c.opt.VariablesEvery)
	defer tick.Stop()
	for {
		c.states.mu.Lock()
		asker, legs := c.states.asker, slices.Clone(c.states.legs)
		c.states.asker = time.Time{}
		c.states.mu.Unlock()
		began := time.Now()
		values, alive := map[string]string{}, len(legs) > 0
		for _, name := range c.opt.Variables {
			if isFunction(name) {
				if alive {
					values[name], alive = c.askFunction(ctx, &legs, name)
				}
				continue
			}
			value, err := c.AskVariable(ctx, name)
			var away *errNoAnswer // the connection's affair, which is told as such
			if err != nil && ctx.Err() == nil && !errors.As(err, &away) {
				c.saysOnce(name, fmt.Sprintf("Asterisk does not tell %s: rules that ask for it do not match", name), err)
			}
			values[name] = value
		}
		c.Do(ctx, func() {
			at := c.pbxNow().Add(-time.Since(began))
			since := at
			if !asker.IsZero() && asker.Before(at) {
				since = asker
			}
			for name, value := range values {
				if !isFunction(name) || alive {
					c.states.confirm(name, at)
					c.states.set(name, value, since)
				}
			}
		})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.refresh:
		}
	}
}

// confirm notes that a function has been asked for.
func (s *states) confirm(name string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, isFunction := s.confirmed[name]; isFunction {
		s.confirmed[name] = at
	}
}

// askFunction asks for a function on the newest of legs that is still up; the
// others leave the list. alive is false when none is.
func (c *Client) askFunction(ctx context.Context, legs *[]string, name string) (value string, alive bool) {
	for len(*legs) > 0 {
		leg := (*legs)[len(*legs)-1]
		path := "/channels/" + url.PathEscape(leg)
		value, err := c.ask(ctx, path+"/variable", name)
		if err == nil {
			return value, true
		}
		if ctx.Err() != nil {
			return "", false
		}
		if _, gone := c.call(ctx, http.MethodGet, path, nil, nil); gone == nil {
			c.saysOnce(name, fmt.Sprintf("Asterisk does not tell %s: rules that ask for it do not match", name), err)
			return "", true
		}
		*legs = (*legs)[:len(*legs)-1]
		c.states.mu.Lock()
		c.states.legs = slices.DeleteFunc(c.states.legs, func(l string) bool { return l == leg })
		c.states.mu.Unlock()
	}
	return "", false
}

// saysOnce warns about a key the first time.
func (c *Client) saysOnce(key, text string, err error) {
	c.states.mu.Lock()
	said := c.said[key]
	c.said[key] = true
	c.states.mu.Unlock()
	if !said {
		c.opt.Log.Warn(text, "error", err)
	}
}
