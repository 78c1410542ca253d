// Another one for Tyk, with underscore, configuration and a session (require_session in the definition).
var greet = new TykJS.TykMiddleware.NewMiddleware({});

greet.NewProcessRequest(function (request, session, config) {
  var who = _.isEmpty(session.alias) ? "stranger" : session.alias;
  request.SetHeaders["X-Greeting"] = config.config_data.greeting + ", " + who;
  request.DeleteHeaders.push("X-Tyk-Authorization");
  request.DeleteParams.push("debug");
  return greet.ReturnData(request, session.meta_data);
});
