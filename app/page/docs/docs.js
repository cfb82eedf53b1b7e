// Shows this server's OpenAPI document. Nothing is loaded from or sent to another server.

SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("docs"),
  defaultModelsExpandDepth: 0,
  displayOperationId: true,
  docExpansion: "list",
  validatorUrl: null,
});
