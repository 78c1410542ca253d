package kit

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Absent is the name of a hook that no server has.
const Absent = "no hook is called so"

// Mark leaves a trace of a hook that ran.
func Mark() conformance.Step {
	return conformance.Step{Do: "set_header", Name: "X-Mark", Value: "done"}
}

// Steps is a configuration.
func Steps(list ...conformance.Step) []byte {
	b, err := json.Marshal(conformance.Config{Steps: list})
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return b
}

// EventPayload is an event as Tyk's gateway sends it.
const EventPayload = `{"message": {"Type": "AuthFailure", "Meta": {"Message": "Attempted access", "Path": "/", "Origin": "192.0.2.7", "Key": "k"},
	"TimeStamp": "2026-01-02 03:04:05.6 +0000 UTC"}, "handler_name": "` + conformance.Watch + `", "spec": {"APIID": "conform", "OrgID": "default"}}`

// Object is a call of Tyk's protocol as a host makes it.
func Object(hook string, phase tykpb.HookType, list ...conformance.Step) *tykpb.Object {
	return &tykpb.Object{
		HookType: phase, HookName: hook,
		Request: &tykpb.MiniRequestObject{
			Headers: map[string]string{"Host": "conform.test", "X-One": "1"}, Url: "/conform/x?q=1", RequestUri: "/conform/x?q=1", Scheme: "http",
			Params: map[string]string{"q": "1"}, Method: "POST", Body: "text", RawBody: []byte("text"),
			ReturnOverrides: &tykpb.ReturnOverrides{ResponseCode: -1}, Echo: true,
		},
		Spec: map[string]string{"OrgID": "default", "APIID": "conform", "bundle_hash": "d41d8cd98f00b204e9800998ecf8427e", "config_data": string(Steps(list...))},
	}
}

// grease are fields of each wire type with numbers that never mean anything.
func grease() []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1001, protowire.VarintType), 1<<63)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 1002, protowire.Fixed32Type), 7)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 1003, protowire.Fixed64Type), 7)
	b = protowire.AppendBytes(protowire.AppendTag(b, 536870911, protowire.BytesType), []byte{0xff, 0x00})
	b = protowire.AppendTag(b, 1005, protowire.StartGroupType)
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
	return protowire.AppendTag(b, 1005, protowire.EndGroupType)
}

// Greased adds fields nobody knows.
func Greased[M proto.Message](m M) M {
	r := m.ProtoReflect()
	r.SetUnknown(append(r.GetUnknown(), grease()...))
	return m
}
