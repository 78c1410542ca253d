package identity

import "errors"

// What callers branch on, with errors.Is. A store that is away is store.ErrUnavailable, wrapped.
var (
	// ErrUnknown says that no key of that organisation goes by that token, id or certificate.
	ErrUnknown = errors.New("key not known")
	// ErrPolicy says that a session's policies give it no rights: one is not known or of another organisation, they
	// cannot be used together, or none is left.
	ErrPolicy = errors.New("policies cannot be applied")
	// ErrForeign says that what was to be written belongs to another organisation.
	ErrForeign = errors.New("key belongs to another organisation")
	// ErrExists says that a key that should be new is there already.
	ErrExists = errors.New("key exists already")
	// ErrInvalid says that what was given cannot be a session, a policy or a key; the text says why.
	ErrInvalid = errors.New("invalid")
	// ErrReadOnly says that a policy stands in a file, and is to be changed there.
	ErrReadOnly = errors.New("policy stands in a file")
	// ErrClosed says that the keys have been closed.
	ErrClosed = errors.New("keys closed")
)
