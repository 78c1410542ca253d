// A middleware written for Tyk: rate limits by the client's address. It makes a key for each address that it sees, and
// hands the address on as the token that the API asks for.
var ipLimit = new TykJS.TykMiddleware.NewMiddleware({});

ipLimit.NewProcessRequest(function (request, session) {
  if (!request.Headers["X-Real-Ip"]) {
    request.ReturnOverrides.ResponseCode = 400;
    request.ReturnOverrides.ResponseError = "X-Real-Ip is missing";
    return ipLimit.ReturnData(request, {});
  }
  var ip = request.Headers["X-Real-Ip"][0];
  request.SetHeaders["x-tyk-authorization"] = ip;
  var details = {
    "allowance": 100,
    "rate": 100,
    "per": 1,
    "expires": -1,
    "quota_max": 100,
    "quota_renews": 1406121006,
    "quota_remaining": 100,
    "quota_renewal_rate": 60,
    "access_rights": {
      "ip-limit": { "api_name": "Limits by address", "api_id": "ip-limit", "versions": ["Default"] }
    },
    "org_id": "53ac07777cbb8c2d53000002"
  };
  TykSetKeyData(ip, JSON.stringify(details), 1);
  log("limits hold for " + ip);
  return ipLimit.ReturnData(request);
});
