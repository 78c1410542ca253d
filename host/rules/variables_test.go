package rules

import "testing"

type variables struct{}

func (variables) Meta(name string) string    { return "<m " + name + ">" }
func (variables) Context(name string) string { return "<c\r\n" + name + ">" }

func TestTemplate(t *testing.T) {
	tests := []struct{ value, want, without string }{
		{"", "", ""},
		{"plain $tyk_other.x $5", "plain $tyk_other.x $5", "plain $tyk_other.x $5"},
		{"$tyk_meta.user", "<m user>", ""},
		{"a-$tyk_meta.a.b-c_d:$tyk_context.headers_Host!", "a-<m a.b-c_d>:<c  headers_Host>!", "a-:!"},
		{"$tyk_context.a$tyk_meta.b", "<c  a><m b>", ""},
		{"$tyk_meta.", "<m >", ""},
		{"x $tyk_meta.é", "x <m >é", "x é"},
	}
	for _, tt := range tests {
		c := CompileTemplate(tt.value)
		if got := c.Expand(variables{}); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.value, got, tt.want)
		}
		if got := c.Expand(nil); got != tt.without {
			t.Errorf("%q without variables: got %q, want %q", tt.value, got, tt.without)
		}
		if c.Fixed() != (tt.want == tt.value) {
			t.Errorf("%q: fixed %v", tt.value, c.Fixed())
		}
	}
}
