var setHeader = new TykJS.TykMiddleware.NewMiddleware({});
setHeader.NewProcessRequest(function (request, session) {
  request.SetHeaders["X-Bench"] = "1";
  return setHeader.ReturnData(request, {});
});
