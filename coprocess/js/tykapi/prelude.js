(function (global, pack) {
  "use strict";
  function Middleware(configuration) { this.configuration = configuration; }
  Middleware.prototype = {
    constructor: Middleware,
    ProcessRequest: function () { throw new Error("this middleware has no function for requests: set one with NewProcessRequest"); },
    ProcessResponse: function () { throw new Error("this middleware has no function for responses: set one with NewProcessResponse"); },
    DoProcessRequest: function (request, session, config) {
      var given = JSON.parse(request);
      given.Body = b64dec(given.Body);
      var made = this.ProcessRequest(given, JSON.parse(session), JSON.parse(config));
      if (!made) { return undefined; }
      if (made.Request) { made.Request.Headers = {}; made.Request.Body = b64enc(made.Request.Body); }
      return JSON.stringify(made);
    },
    DoProcessResponse: function (response, request, session, config) {
      var given = JSON.parse(response);
      given.Body = b64dec(given.Body);
      var made = this.ProcessResponse(given, JSON.parse(request), JSON.parse(session), JSON.parse(config));
      if (!made) { return undefined; }
      if (made.Response) { made.Response.Body = b64enc(made.Response.Body); }
      return JSON.stringify(made);
    }
  };
  function NewMiddleware(configuration) {
    if (!(this instanceof NewMiddleware)) { return new NewMiddleware(configuration); }
    Middleware.call(this, configuration);
  }
  NewMiddleware.prototype = Object.create(Middleware.prototype, {
    constructor: { value: NewMiddleware, writable: true, configurable: true }
  });
  NewMiddleware.prototype.NewProcessRequest = function (f) { this.ProcessRequest = f; };
  NewMiddleware.prototype.NewProcessResponse = function (f) { this.ProcessResponse = f; };
  NewMiddleware.prototype.ReturnData = pack.data;
  NewMiddleware.prototype.ReturnAuthData = pack.auth;
  NewMiddleware.prototype.ReturnResponseData = pack.response;

  function EventHandler() {}
  EventHandler.prototype = {
    constructor: EventHandler,
    Handle: function () { throw new Error("this event handler has no function: set one with NewHandler"); },
    DoProcessEvent: function (event, context) { return this.Handle(event, context); }
  };
  function NewEventHandler() {
    if (!(this instanceof NewEventHandler)) { return new NewEventHandler(); }
    EventHandler.call(this);
  }
  NewEventHandler.prototype = Object.create(EventHandler.prototype, {
    constructor: { value: NewEventHandler, writable: true, configurable: true }
  });
  NewEventHandler.prototype.NewHandler = function (f) { this.Handle = f; };

  global.TykJS = {
    TykMiddleware: { MiddlewareComponentMeta: Middleware, NewMiddleware: NewMiddleware },
    TykEventHandlers: { EventHandlerComponentMeta: EventHandler, NewEventHandler: NewEventHandler }
  };
  global.TykJsResponse = function (response, meta) { return JSON.stringify({ Response: response, SessionMeta: meta }); };
  return [Middleware.prototype.DoProcessRequest, Middleware.prototype.DoProcessResponse];
})
