package interp

import (
	"errors"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// Thrown is the value that a script threw, as a cause of the [*script.Error] that [State.Call] returns.
type Thrown struct{ Value lua.LValue }

// Error is what the value is as text.
func (t *Thrown) Error() string { return t.Value.String() }

// Unwrap is the error that a function of Go threw as it is.
func (t *Thrown) Unwrap() error {
	if ud, ok := t.Value.(*lua.LUserData); ok {
		if err, ok := ud.Value.(error); ok {
			return err
		}
	}
	return nil
}

// failure makes a [*script.Error] of an error of the interpreter. An interruption is its cause before anything else.
func (s *State) failure(err error) error {
	e := &script.Error{Message: err.Error()}
	api := (*lua.ApiError)(nil)
	if errors.As(err, &api) {
		e.Trace = trace(api.StackTrace)
		e.Message = s.text(api.Object)
		if api.Object == lua.LNil {
			e.Message = "nil"
		}
		if api.Type == lua.ApiErrorPanic && api.Object == lua.LNil {
			e.Message = api.Error()
		}
		if _, text := api.Object.(lua.LString); !text {
			e.Err = &Thrown{api.Object}
		}
	}
	e.File, e.Line, e.Message = position(e.Message)
	if why := s.Interrupted(); why != nil {
		e.Err, e.Message = why, why.Error()
		return e
	}
	switch {
	case strings.HasSuffix(e.Message, "stack overflow"): // of the interpreter's two stacks of calls, each with its text
		e.Err, e.Message = script.ErrDepth, script.ErrDepth.Error()
	case e.Message == "registry overflow":
		e.Err, e.Message = script.ErrSize, script.ErrSize.Error()
	}
	return e
}

// text is what a thrown value says. It runs nothing of the script's.
func (s *State) text(v lua.LValue) string {
	if t, ok := v.(*lua.LTable); ok {
		if m, ok := t.RawGetString("message").(lua.LString); ok {
			return string(m)
		}
	}
	return v.String()
}

// position splits what the interpreter puts before a message: file, line, blank.
func position(message string) (file string, line int, rest string) {
	for at := 0; ; {
		colon := strings.IndexByte(message[at:], ':')
		if colon < 0 {
			return "", 0, message
		}
		colon += at
		end := colon + 1
		for end < len(message) && '0' <= message[end] && message[end] <= '9' {
			end++
		}
		if end > colon+1 && strings.HasPrefix(message[end:], ": ") {
			line, err := strconv.Atoi(message[colon+1 : end])
			if err == nil && !strings.ContainsAny(message[:colon], "\n ") {
				return message[:colon], line, message[end+2:]
			}
			return "", 0, message
		}
		at = end
	}
}

// trace is a stack trace as one call a line.
func trace(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line != "stack traceback:" && !strings.HasPrefix(line, "[G]") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
