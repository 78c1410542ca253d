package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// sessionFlags are what a key is made of.
type sessionFlags struct {
	e                      Env
	apis, policies, tags   []string
	meta                   map[string]string
	rate                   float64
	quota                  int64
	per, renewal, lifetime string
	alias, org, expires    string
	user, password, token  string
	from                   string
	hmac, inactive         bool
}

func addSessionFlags(cmd *cobra.Command, e Env) *sessionFlags {
	f := &sessionFlags{e: e}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.apis, "api", nil, "`IDS` of the APIs that it admits to, comma-separated or repeated")
	flags.StringSliceVar(&f.policies, "policy", nil, "`IDS` of policies that fill it in, comma-separated or repeated")
	flags.Float64Var(&f.rate, "rate", 0, "`REQUESTS` in the time of --per (default no limit)")
	flags.StringVar(&f.per, "per", "1s", "`TIME` of --rate")
	flags.Int64Var(&f.quota, "quota", 0, "`REQUESTS` in the time of --quota-renewal (default no limit)")
	flags.StringVar(&f.renewal, "quota-renewal", "", "`TIME` after which the quota renews, 30d say (default never)")
	flags.StringVar(&f.alias, "alias", "", "`NAME` in logs")
	flags.StringVar(&f.org, "org", "", "`ORGANISATION` (default that of its APIs)")
	flags.StringVar(&f.expires, "expires", "", "`WHEN` it is refused from: 90d, 2027-01-31 or 2027-01-31T12:00:00Z (default never)")
	flags.StringVar(&f.lifetime, "lifetime", "", "`TIME` that it is kept, used or not (default for ever, or as its APIs say)")
	flags.StringSliceVar(&f.tags, "tag", nil, "`TAGS`, comma-separated or repeated")
	flags.StringToStringVar(&f.meta, "meta", nil, "metadata, `NAME=VALUE`, comma-separated or repeated")
	flags.StringVar(&f.user, "user", "", "`NAME` of a user of basic authentication, with --password-file")
	flags.StringVar(&f.password, "password-file", "", "`FILE` that holds the user's password, - for standard input")
	flags.StringVar(&f.token, "token", "", "the key itself, or its name in the organisation (default one that nobody can guess)")
	flags.BoolVar(&f.hmac, "hmac", false, "for signatures: a secret is made and printed")
	flags.BoolVar(&f.inactive, "inactive", false, "refused until it is made active")
	flags.StringVar(&f.from, "from", "", "`FILE` with a session in JSON, - for standard input, which the other flags change")
	cmd.MarkFlagsMutuallyExclusive("user", "token")
	cmd.MarkFlagsRequiredTogether("user", "password-file")
	return f
}

// session is the body of the request. What no flag says is left out, or is as the file of --from has it.
func (f *sessionFlags) session(cmd *cobra.Command, now time.Time) (map[string]any, error) {
	s := map[string]any{}
	if f.from != "" {
		data, err := f.read(f.from)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &s); err != nil || s == nil {
			return nil, fmt.Errorf("%s: must be a session, a JSON object", f.from)
		}
	}
	said := cmd.Flags().Changed
	if len(f.apis) > 0 {
		rights := map[string]any{}
		for _, id := range f.apis {
			rights[id] = map[string]any{"api_id": id}
		}
		s["access_rights"] = rights
	}
	set := func(flag, key string, value any) {
		if said(flag) {
			s[key] = value
		}
	}
	set("policy", "apply_policies", f.policies)
	set("alias", "alias", f.alias)
	set("org", "org_id", f.org)
	set("tag", "tags", f.tags)
	set("meta", "meta_data", f.meta)
	set("hmac", "hmac_enabled", f.hmac)
	set("inactive", "is_inactive", f.inactive)
	set("rate", "rate", f.rate)
	set("quota", "quota_max", f.quota)
	if err := f.times(s, said, now); err != nil {
		return nil, err
	}
	if f.user != "" {
		data, err := f.read(f.password)
		if err != nil {
			return nil, err
		}
		password := strings.TrimRight(string(data), "\r\n")
		if password == "" {
			return nil, fmt.Errorf("%s: the password is empty", f.password)
		}
		s["basic_auth_data"] = map[string]any{"password": password}
	}
	return s, nil
}

// times fills in what is measured in time.
func (f *sessionFlags) times(s map[string]any, said func(string) bool, now time.Time) error {
	seconds := func(flag, text string, least time.Duration) (float64, error) {
		d, err := parseTime(text)
		if err != nil || d < least {
			return 0, fmt.Errorf("--%s: %q is no time: write 1s, 5m, 12h or 30d", flag, text)
		}
		return d.Seconds(), nil
	}
	if said("rate") || said("per") {
		per, err := seconds("per", f.per, time.Millisecond)
		if err != nil {
			return err
		}
		s["per"] = per
	}
	for flag, key := range map[string]string{"quota-renewal": "quota_renewal_rate", "lifetime": "session_lifetime"} {
		if !said(flag) {
			continue
		}
		text := f.renewal
		if flag == "lifetime" {
			text = f.lifetime
		}
		n, err := seconds(flag, text, time.Second)
		if err != nil {
			return err
		}
		s[key] = int64(n)
	}
	if said("expires") {
		at, err := parseWhen(f.expires, now)
		if err != nil {
			return err
		}
		s["expires"] = at.Unix()
	}
	return nil
}

func (f *sessionFlags) read(name string) ([]byte, error) {
	const limit = 1 << 20
	from := f.e.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return data, err
}

var errTime = errors.New("not a time")

// parseTime reads a duration as Go writes it, or a number of days.
func parseTime(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 36500) {
			return 0, errTime
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	return time.ParseDuration(text)
}

// parseWhen reads a time from now on, a day or a point in time.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if d, err := parseTime(text); err == nil {
		return now.Add(d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--expires: %q is neither a time from now, 90d say, nor a day, 2027-01-31, nor a point in time, 2027-01-31T12:00:00Z", text)
}
