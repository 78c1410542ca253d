package wire

import (
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func specification(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../proto/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// table returns the cells of the rows of the table with that heading.
func table(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, rest, ok := strings.Cut(specification(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("PROTOCOL.md has no table %q", heading)
	}
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !strings.HasPrefix(line, "|---") {
			rows = append(rows, cells)
		}
	}
	return rows
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSpecifiedNumbers(t *testing.T) {
	needs := map[string]sdk.Need{
		"headers": sdk.NeedHeaders, "query": sdk.NeedQuery, "body": sdk.NeedBody, "response_headers": sdk.NeedResponseHeaders,
		"response_body": sdk.NeedResponseBody, "session": sdk.NeedSession, "values": sdk.NeedValues, "peer": sdk.NeedPeer,
		"trace": sdk.NeedTrace, "nothing": sdk.NeedNothing,
	}
	rows := table(t, "| bit | name | what is sent |")
	for _, row := range rows {
		if n := strings.Trim(row[1], "`"); needs[n] != 1<<number(t, row[0]) {
			t.Errorf("need %s is %b, by the specification bit %s", n, needs[n], row[0])
		}
	}
	if len(rows) != len(needs) {
		t.Errorf("%d needs, want %d", len(rows), len(needs))
	}
	if sdk.NeedDefault != 1<<0|1<<1|1<<3|1<<5|1<<6|1<<8 || !strings.Contains(specification(t), "The default is bits 0, 1, 3, 5, 6 and 8.") {
		t.Errorf("the default needs are %b", sdk.NeedDefault)
	}
	var changes []string
	for i, row := range table(t, "| bit | name | what changed |") {
		if number(t, row[0]) != i {
			t.Errorf("row %d is bit %s", i, row[0])
		}
		changes = append(changes, strings.Trim(row[1], "`"))
	}
	if all := sdk.Change(1<<32 - 1).Names(); !slices.Equal(changes, all) {
		t.Errorf("changes %v, want %v", changes, all)
	}
	outcomes := table(t, "| number | name | |")
	for i, row := range outcomes {
		if number(t, row[0]) != i || strings.Trim(row[1], "`") != sdk.Outcome(i).String() {
			t.Errorf("outcome %d is %v, want %v", i, row, sdk.Outcome(i))
		}
	}
	if len(outcomes) != sdk.Outcomes {
		t.Errorf("%d outcomes, want %d", len(outcomes), sdk.Outcomes)
	}
	for _, row := range table(t, "| phase | number | when |") {
		if p := pluginv1.Phase_value["PHASE_"+strings.Trim(row[0], "`")]; int(p) != number(t, row[1]) || sdk.Phase(p).String() != strings.ToLower(strings.Trim(row[0], "`")) {
			t.Errorf("phase %v is %d", row, p)
		}
	}
	for _, row := range table(t, "| phase | `HookType` |") {
		var p sdk.Phase
		if err := p.UnmarshalText([]byte(strings.ToLower(strings.Trim(row[0], "`")))); err != nil {
			t.Fatal(err)
		}
		n, name, _ := strings.Cut(row[1], " ")
		if int(hookType(p)) != number(t, n) || coprocess.HookType_name[int32(hookType(p))] != strings.Trim(name, "`") || phases[hookType(p)] != p {
			t.Errorf("hook type of %v is %d", row, hookType(p))
		}
	}
	codes := table(t, "| code | name | when |")
	for _, row := range codes {
		if c := pluginv1.FailureCode_value["FAILURE_CODE_"+strings.Trim(row[1], "`")]; c == 0 || int(c) != number(t, row[0]) {
			t.Errorf("code %v is %d", row, c)
		}
	}
	if len(codes) != len(pluginv1.FailureCode_name)-1 {
		t.Errorf("%d codes, want %d", len(codes), len(pluginv1.FailureCode_name)-1)
	}
}

func TestSpecifiedLimits(t *testing.T) {
	want := []int{MaxFields, MaxChanges, MaxItems, MaxHooks, MaxNotes, MaxLogBytes}
	for i, row := range table(t, "| what | bound | over it |")[:len(want)] {
		if n := number(t, strings.TrimSuffix(row[1], " bytes")); n != want[i] {
			t.Errorf("%s: %d, want %d", row[0], n, want[i])
		}
	}
}

// Every field of the coprocess messages has its row, and what the rows name exists.
func TestFieldMapping(t *testing.T) {
	rows := map[string][]string{}
	for _, row := range table(t, "| coprocess | native, read | native, changed | note |") {
		if rows[row[0]] != nil {
			t.Errorf("%s has two rows", row[0])
		}
		rows[row[0]] = row
	}
	for _, file := range []protoreflect.FileDescriptor{
		coprocess.File_coprocess_coprocess_common_proto, coprocess.File_coprocess_coprocess_object_proto,
		coprocess.File_coprocess_coprocess_mini_request_object_proto, coprocess.File_coprocess_coprocess_response_object_proto,
		coprocess.File_coprocess_coprocess_return_overrides_proto, coprocess.File_coprocess_coprocess_session_state_proto,
	} {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			if all := "`" + string(m.Name()) + ".*`"; rows[all] != nil {
				sameFields(t, m, strings.TrimSuffix(strings.Trim(rows[all][1], "`"), ".*"))
				delete(rows, all)
				continue
			}
			for j := range m.Fields().Len() {
				name := "`" + string(m.Name()) + "." + string(m.Fields().Get(j).Name()) + "`"
				row := rows[name]
				if row == nil {
					t.Errorf("%s is not in the table", name)
					continue
				}
				delete(rows, name)
				if row[1] == "–" && row[2] == "–" && row[3] == "" {
					t.Errorf("%s has no counterpart and no reason", name)
				}
				exists(t, strings.Join(row[1:], " "))
			}
		}
	}
	for name := range rows {
		t.Errorf("the table has %s, which does not exist", name)
	}
}

func native(name string) protoreflect.MessageDescriptor {
	for _, file := range []protoreflect.FileDescriptor{
		pluginv1.File_plugin_v1_plugin_proto, pluginv1.File_plugin_v1_record_proto, pluginv1.File_plugin_v1_session_proto,
	} {
		if m := file.Messages().ByName(protoreflect.Name(name)); m != nil {
			return m
		}
	}
	return nil
}

// exists checks every `Message` and `Message.field` in a text.
func exists(t *testing.T, text string) {
	t.Helper()
	for _, match := range regexp.MustCompile("`([A-Z][A-Za-z]*[a-z])(?:\\.([a-z_]+))?`").FindAllStringSubmatch(text, -1) {
		m := native(match[1])
		switch {
		case slices.Contains([]string{"OrgID", "Host"}, match[1]):
		case m == nil, match[2] != "" && m.Fields().ByName(protoreflect.Name(match[2])) == nil:
			t.Errorf("%s does not exist", match[0])
		}
	}
}

// sameFields checks that a native message has the fields of a coprocess message, by name, number and type.
func sameFields(t *testing.T, m protoreflect.MessageDescriptor, name string) {
	t.Helper()
	n := native(name)
	if n == nil || n.Fields().Len() != m.Fields().Len() {
		t.Errorf("%s is not %s", name, m.Name())
		return
	}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		g := n.Fields().ByNumber(f.Number())
		if g == nil || g.Name() != f.Name() || g.Kind() != f.Kind() || g.Cardinality() != f.Cardinality() || g.IsMap() != f.IsMap() {
			t.Errorf("%s.%s is %v in the native protocol", m.Name(), f.Name(), g)
		}
	}
}

// The worked examples are what they say they are: they decode, and our encoders write these very bytes.
func TestSpecifiedExamples(t *testing.T) {
	examples := map[string][][]byte{}
	for _, match := range regexp.MustCompile("(?s)```hex (\\w+)\n(.*?)```").FindAllStringSubmatch(specification(t), -1) {
		var digits strings.Builder
		for line := range strings.Lines(match[2]) {
			line = strings.TrimLeft(line, " ")
			octets, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "  ")
			digits.WriteString(strings.ReplaceAll(octets, " ", ""))
		}
		b, err := hex.DecodeString(digits.String())
		if err != nil {
			t.Fatal(err)
		}
		examples[match[1]] = append(examples[match[1]], b)
	}
	if len(examples["HostFrame"]) != 1 || len(examples["PluginFrame"]) != 2 {
		t.Fatalf("examples: %v", examples)
	}
	x := &sdk.Exchange{}
	start := func() {
		x.Reset(sdk.Init{Route: &sdk.Route{ID: "api1"}})
		x.Request().Fill(sdk.RequestInit{Method: "GET", Scheme: "http", Host: "localhost", Path: "/hello", URI: "/hello"})
		x.Begin(sdk.Pre, nil, false)
	}
	start()
	b := AppendBinding(AppendSeq(nil, 1), &Binding{ID: 1, Phase: sdk.Pre, Hooks: []HookUse{{Name: "Greet"}}, Route: x.Route()})
	b = AppendCall(b, CallHeader{ID: 1, Binding: 1, Timeout: time.Second}, x, sdk.Needs{Fields: sdk.NeedNothing})
	same(t, examples["HostFrame"][0], b, &pluginv1.HostFrame{})
	same(t, examples["PluginFrame"][0], AppendCredit(nil, 128), &pluginv1.PluginFrame{})

	f, err := ScanHostFrame(examples["HostFrame"][0])
	if err != nil {
		t.Fatal(err)
	}
	in, y := new(Incoming), &sdk.Exchange{}
	for call := range f.Calls() {
		if err := in.Decode(call, &Binding{}, y); err != nil {
			t.Fatal(err)
		}
	}
	y.Begin(sdk.Pre, nil, true)
	y.Request().Header().Set("X-Greeting", "hello")
	in.Queued = 2 * time.Microsecond
	in.Done(y, 12*time.Microsecond, nil)
	same(t, examples["PluginFrame"][1], in.AppendReply(AppendAck(nil, 1)), &pluginv1.PluginFrame{})
	p, err := ScanPluginFrame(examples["PluginFrame"][1])
	if err != nil {
		t.Fatal(err)
	}
	for id, reply := range p.Replies() {
		var r Result
		if err := ApplyReply(reply, x, &r); err != nil || id != 1 || x.Request().Header().Get("X-Greeting") != "hello" {
			t.Errorf("reply to %d: %v, header %v", id, err, x.Request().Header().Fields())
		}
	}
}

func same(t *testing.T, specified, ours []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(specified, m); err != nil {
		t.Errorf("example cannot be decoded: %v", err)
	}
	if string(specified) != string(ours) {
		t.Errorf("the example is\n%x, we write\n%x", specified, ours)
	}
}
