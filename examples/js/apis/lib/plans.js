// Read by shop.js with require: files of the script's own folder and below it, nothing else.

const discounts = { basic: 0, gold: 10 };

exports.discount = (plan) => discounts[plan] || 0;

exports.isJSON = (headers) => (headers.get("Content-Type") || "").startsWith("application/json");
