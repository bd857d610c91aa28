package config

import (
	"slices"
	"strings"

	"textback/rules"
	"textback/rules/strict"
)

// Across holds textback.yaml against rules.yaml: what is wrong with neither alone.
// ask tells how many segments of one text a transport carries, 0 for no limit, and why it may
// not text a rule file's regions, see sms.CheckWayIn; nil asks nobody. What either file already has an error in is left out: r may come from
// rules.LoadPart, and nil are no rules.
func (c *Config) Across(r *rules.Rules, ask func(transport string, regions []string) (segments int, err error)) []Problem {
	rep := &strict.Report{}
	if c.file == nil || r == nil {
		return nil // nothing is configured that could not fit
	}
	if !r.Sure("regions") || slices.ContainsFunc([]string{"sms", "webhooks", "pbx", "lines"}, func(s string) bool { return !c.Sure(s) }) {
		ask = nil // it would ask a transport that is not as it will be
	}
	tell := c.SMS.Replies.Tell
	if !r.Sure("staff") || c.file.Wrong(strict.At("sms", "replies")) {
		tell = nil
	}
	*rep = *c.file
	rep.Problems = nil
	var numbers []string
	for _, l := range c.Lines {
		numbers = append(numbers, l.Number)
	}
	var long []Problem
	for i, name := range c.SMS.Transport {
		if ask == nil {
			break
		}
		p := strict.At("sms", "transport")
		if one := p.Index(i); rep.Has(one) {
			p = one
		}
		regions := c.SMS.Regions[name]
		if len(regions) == 0 {
			regions = r.Regions()
		}
		segments, err := ask(name, regions)
		if err != nil {
			rep.Problem(p, "%v", err)
		}
		if used := slices.ContainsFunc(regions, func(reg string) bool { return slices.Contains(r.Regions(), reg) }); used && segments > 0 {
			long = append(long, r.TooLong(name, segments, numbers)...)
		}
	}
	var names []string
	for _, s := range r.Staff() {
		names = append(names, s.Name)
	}
	for i, name := range tell {
		if _, ok := r.StaffNamed(name); ok {
			continue
		}
		p := strict.At("sms", "replies", "tell").Index(i)
		if len(names) == 0 {
			rep.Problem(p, "%q is nobody: %s has no staff; name them there under staff", name, c.Rules)
		} else {
			rep.Problem(p, "%q is not on the staff of %s%s (there: %s)", name, c.Rules, strict.DidYouMean(name, names), strings.Join(names, ", "))
		}
	}
	rep.Sort()
	all := append(rep.Problems, long...)
	if c.Notify.SMTP == nil && c.Sure("notify") && r.Sure("staff") {
		all = append(all, r.Unmailed()...)
	}
	return all
}

// Sure reports whether there is no error in a section of the file; of one that could not be read
// at all nothing is sure.
func (c *Config) Sure(section string) bool {
	return c.file != nil && !c.file.Doubtful(strict.At(section))
}
