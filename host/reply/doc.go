// Package reply writes the gateway's own replies: an [sdk.Error] becomes a status, headers and a document in the type
// the client speaks, from the definition's templates or built in.
//
// The type follows the request's Content-Type: application/xml, text/xml and application/soap+xml are answered in XML
// with that same type, all else in JSON. A template is looked for in this order: inline for status and type, inline for
// the type alone, then in the folder error_<status>.<type>, error.<type> and error.json, whose reply is JSON whoever
// asked. Without any of them the built-in document is sent: {"error": message}, or <error>message</error>.
//
// Templates are text/template documents with the fields .StatusCode, a number, and .Message, which is escaped for the
// template's type: it can stand between the quotes of a JSON string, in XML text or in an attribute.
package reply
