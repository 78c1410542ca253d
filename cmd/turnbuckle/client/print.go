package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// summary is a key in a listing.
type summary struct {
	ID       string   `json:"id"`
	Org      string   `json:"org_id,omitempty"`
	Alias    string   `json:"alias,omitempty"`
	APIs     []string `json:"apis,omitempty"`
	Policies []string `json:"policies,omitempty"`
	Rate     float64  `json:"rate,omitempty"`
	Per      float64  `json:"per,omitempty"`
	QuotaMax int64    `json:"quota_max,omitempty"`
	Expires  int64    `json:"expires,omitempty"`
	Inactive bool     `json:"is_inactive,omitempty"`
	Kept     string   `json:"kept_until,omitempty"`
	Broken   bool     `json:"broken,omitempty"`
}

// print writes a listing.
func (c *connection) print(list page, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(c.e.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	}
	if len(list.Keys) == 0 {
		fmt.Fprintln(c.e.Stderr, "There are no such keys.")
		return nil
	}
	w := tabwriter.NewWriter(c.e.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tALIAS\tORG\tAPIS\tPOLICIES\tRATE\tQUOTA\tEXPIRES\tSTATE")
	for _, k := range list.Keys {
		row := []string{
			k.ID, k.Alias, k.Org, strings.Join(k.APIs, ","), strings.Join(k.Policies, ","), rate(k.Rate, k.Per), quota(k.QuotaMax),
			moment(k.Expires), k.state(time.Now()),
		}
		for i := range row {
			row[i] = printable(cmp.Or(row[i], "-"))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if list.Next != "" {
		fmt.Fprintf(c.e.Stderr, "There are more: --cursor %s, or --all.\n", list.Next)
	}
	return nil
}

func (k *summary) state(now time.Time) string {
	switch {
	case k.Broken:
		return "unreadable"
	case k.Inactive:
		return "inactive"
	case k.Expires > 0 && k.Expires <= now.Unix():
		return "expired"
	}
	return "active"
}

// shownSession is what key show prints of a session.
type shownSession struct {
	Org       string              `json:"org_id"`
	Alias     string              `json:"alias"`
	Tags      []string            `json:"tags"`
	Policies  []string            `json:"apply_policies"`
	Policy    string              `json:"apply_policy_id"`
	Rate      float64             `json:"rate"`
	Per       float64             `json:"per"`
	QuotaMax  int64               `json:"quota_max"`
	Remaining int64               `json:"quota_remaining"`
	Renews    int64               `json:"quota_renews"`
	Expires   int64               `json:"expires"`
	Inactive  bool                `json:"is_inactive"`
	HMAC      bool                `json:"hmac_enabled"`
	Created   string              `json:"date_created"`
	Rights    map[string]apiRight `json:"access_rights"`
	BasicAuth struct {
		Hash string `json:"hash_type"`
	} `json:"basic_auth_data"`
}

type apiRight struct {
	Limit struct {
		Rate      float64 `json:"rate"`
		Per       float64 `json:"per"`
		QuotaMax  int64   `json:"quota_max"`
		Remaining int64   `json:"quota_remaining"`
	} `json:"limit"`
}

func (s *shownSession) rows() [][2]string {
	k := summary{Expires: s.Expires, Inactive: s.Inactive}
	rows := [][2]string{
		{"alias", s.Alias}, {"organisation", s.Org}, {"state", k.state(time.Now())}, {"made", s.Created}, {"expires", moment(s.Expires)},
		{"policies", strings.Join(slices.DeleteFunc(append(slices.Clone(s.Policies), s.Policy), func(p string) bool { return p == "" }), ", ")},
		{"rate", rate(s.Rate, s.Per)}, {"quota", left(s.QuotaMax, s.Remaining)}, {"quota renews", moment(s.Renews)}, {"tags", strings.Join(s.Tags, ", ")},
	}
	if s.HMAC {
		rows = append(rows, [2]string{"signatures", "hmac"})
	}
	if s.BasicAuth.Hash != "" {
		rows = append(rows, [2]string{"password", "hashed with " + s.BasicAuth.Hash})
	}
	for _, id := range slices.Sorted(maps.Keys(s.Rights)) {
		l := s.Rights[id].Limit
		text := id
		if own := rate(l.Rate, l.Per); own != "" {
			text += ", rate " + own
		}
		if own := left(l.QuotaMax, l.Remaining); own != "" {
			text += ", quota " + own
		}
		rows = append(rows, [2]string{"API", text})
	}
	for i := range rows {
		rows[i][1] = printable(rows[i][1])
	}
	return rows
}

func rate(requests, per float64) string {
	if requests <= 0 || per <= 0 {
		return ""
	}
	return strconv.FormatFloat(requests, 'f', -1, 64) + " in " + time.Duration(per*float64(time.Second)).String()
}

func quota(most int64) string {
	if most <= 0 {
		return ""
	}
	return strconv.FormatInt(most, 10)
}

func left(most, remaining int64) string {
	if most <= 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d left", remaining, most)
}

// moment is a point in unix seconds; none below 1.
func moment(unix int64) string {
	if unix < 1 {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// printable takes out what would do something to a terminal: others chose these texts.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
