package sdk

// Undo notes how an exchange was before a call, so that a hook that fails leaves nothing behind. For hosts and runtimes. Its
// memory is used again by the next Keep; it is not safe for concurrent use.
type Undo struct {
	phase    Phase
	request  RequestInit
	header   []Field
	body     []byte
	buffered bool
	answered bool
	status   int
	length   int64
	reply    []Field
	content  []byte
	whole    bool
	session  *Session
	values   []Value
	config   []byte
}

// Keep notes how x is.
func (u *Undo) Keep(x *Exchange) {
	q, r := x.Request(), x.Response()
	u.phase, u.config, u.session, u.answered = x.Phase(), x.Config(), x.Session(), x.Answered()
	u.request = RequestInit{
		Method: q.Method(), Scheme: q.Scheme(), Host: q.Host(), Path: q.Path(), Query: q.Query().Raw(), URI: q.URI(),
		Proto: q.Proto(), Length: q.Length(),
	}
	u.header, u.body, u.buffered = append(u.header[:0], q.Header().Fields()...), q.Body(), q.Buffered()
	u.status, u.length, u.content, u.whole = r.Status(), r.Length(), r.Body(), r.Buffered()
	u.reply = append(u.reply[:0], r.Header().Fields()...)
	u.values = append(u.values[:0], x.Values()...)
}

// Restore makes x what it was. Nothing counts as changed then.
func (u *Undo) Restore(x *Exchange) {
	q, r := x.Request(), x.Response()
	if x.Answered() && !u.answered {
		x.Retract()
	}
	q.Fill(u.request)
	for _, f := range u.header {
		q.Header().Append(f.Name, f.Value)
	}
	if u.buffered {
		q.LoadBody(u.body)
	}
	r.Fill(u.status, u.length)
	for _, f := range u.reply {
		r.Header().Append(f.Name, f.Value)
	}
	if u.whole {
		r.LoadBody(u.content)
	}
	x.BeginSession(u.session)
	for i, v := range x.Values() { // values are only ever appended
		var data []byte
		if i < len(u.values) {
			data = u.values[i].Data
		}
		x.SetValue(v.Name, data)
	}
	x.Begin(u.phase, u.config, false)
}

// Forget lets go of what was noted and keeps the memory.
func (u *Undo) Forget() {
	clear(u.header)
	clear(u.reply)
	clear(u.values)
	*u = Undo{header: u.header[:0], reply: u.reply[:0], values: u.values[:0]}
}
