// Package report is what `turnbuckle plugin conform` found, and how it is written: a table, JSON, or JUnit's XML.
package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Result is how a case ended.
type Result string

// The results.
const (
	Pass Result = "pass"
	Fail Result = "fail" // what must hold does not
	Warn Result = "warn" // what should hold does not
	Skip Result = "skip"
)

// The protocols as reports spell them.
const (
	Native = "native"
	Tyk    = "tyk"
	Both   = "both"
)

// Finding is the result of one case.
type Finding struct {
	ID       string   `json:"id"`
	Protocol string   `json:"protocol"` // native, tyk, or both
	Section  string   `json:"section"`  // of PROTOCOL.md
	Title    string   `json:"title"`
	Result   Result   `json:"result"`
	Details  []string `json:"details,omitempty"`
	MS       int64    `json:"ms"`
}

// Report is what was found.
type Report struct {
	Target    string    `json:"target"`
	Name      string    `json:"name,omitempty"` // as the server calls itself
	Version   string    `json:"version,omitempty"`
	Protocols []string  `json:"protocols"`
	Handshake bool      `json:"handshake"`  // whether it was started with go-plugin's handshake
	MutualTLS bool      `json:"mutual_tls"` // whether that brought mutual TLS
	Hooks     bool      `json:"hooks"`      // whether it has the hooks of CONFORMANCE.md
	Passed    int       `json:"passed"`
	Failed    int       `json:"failed"`
	Warned    int       `json:"warned"`
	Skipped   int       `json:"skipped"`
	Cases     []Finding `json:"cases"`
}

// Add adds a finding.
func (r *Report) Add(f Finding) {
	r.Cases = append(r.Cases, f)
	switch f.Result {
	case Pass:
		r.Passed++
	case Fail:
		r.Failed++
	case Warn:
		r.Warned++
	case Skip:
		r.Skipped++
	}
}

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes a table. all says whether cases that passed or were skipped are in it.
func (r *Report) WriteText(w io.Writer, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := 0
	skipped := map[string]int{} // by reason
	for _, c := range r.Cases {
		if c.Result == Skip {
			skipped[strings.Join(c.Details, "; ")]++
		}
		if !all && (c.Result == Pass || c.Result == Skip) {
			continue
		}
		if rows++; rows == 1 {
			fmt.Fprintln(table, "RESULT\tCASE\tSECTION\tWHAT")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.Result, c.ID, c.Section, c.Title)
		for _, d := range c.Details {
			fmt.Fprintf(table, "\t\t\t  %s\n", strings.ReplaceAll(d, "\n", " "))
		}
	}
	if rows > 0 {
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Fprintf(w, "%d cases skipped: %s\n", skipped[why], why)
	}
	_, err := fmt.Fprintf(w, "%s speaks %s%s: %d passed, %d failed, %d warned, %d skipped\n",
		r.who(), strings.Join(r.Protocols, " and "), r.how(), r.Passed, r.Failed, r.Warned, r.Skipped)
	return err
}

func (r *Report) who() string {
	if r.Name == "" {
		return r.Target
	}
	return fmt.Sprintf("%s %s (%s)", r.Name, r.Version, r.Target)
}

func (r *Report) how() string {
	switch {
	case r.MutualTLS:
		return ", started with go-plugin's handshake and mutual TLS"
	case r.Handshake:
		return ", started with go-plugin's handshake"
	}
	return ""
}

// These are JUnit's elements, as CI systems read them.
type (
	suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	testcase struct {
		Class   string `xml:"classname,attr"`
		Name    string `xml:"name,attr"`
		Time    string `xml:"time,attr"`
		Failure *why   `xml:"failure,omitempty"`
		Skipped *why   `xml:"skipped,omitempty"`
		Out     string `xml:"system-out,omitempty"`
	}
	why struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit's XML. A warning is a case that passed with its text beside it.
func (r *Report) WriteJUnit(w io.Writer) error {
	s := suite{Name: r.who(), Tests: len(r.Cases), Failures: r.Failed, Skipped: r.Skipped}
	for _, c := range r.Cases {
		t := testcase{Class: "conform." + c.Protocol, Name: c.ID, Time: fmt.Sprintf("%.3f", float64(c.MS)/1000)}
		text := strings.ToValidUTF8(strings.Join(c.Details, "\n"), "?")
		switch c.Result {
		case Fail:
			t.Failure = &why{fmt.Sprintf("PROTOCOL.md %s: %s", c.Section, c.Title), text}
		case Skip:
			t.Skipped = &why{Message: text}
		case Pass, Warn:
			t.Out = text
		}
		s.Cases = append(s.Cases, t)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
