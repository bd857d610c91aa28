package config

import (
	"strings"

	"textback/rules"
	"textback/rules/strict"
)

// Across holds textback.yaml against rules.yaml: what is wrong with neither alone.
// wayIn tells why a transport may not text a rule file's regions, see sms.CheckWayIn;
// nil asks nobody.
func (c *Config) Across(r *rules.Rules, wayIn func(transport string, regions []string) error) []Problem {
	rep := &strict.Report{}
	if c.file == nil {
		return nil // nothing is configured that could not fit
	}
	*rep = *c.file
	rep.Problems = nil
	for i, name := range c.SMS.Transport {
		if wayIn == nil {
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
		if err := wayIn(name, regions); err != nil {
			rep.Problem(p, "%v", err)
		}
	}
	var names []string
	for _, s := range r.Staff() {
		names = append(names, s.Name)
	}
	for i, name := range c.SMS.Replies.Tell {
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
	all := rep.Problems
	if c.Notify.SMTP == nil {
		all = append(all, r.Unmailed()...)
	}
	return all
}
