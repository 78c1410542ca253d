-- Read by shop.lua with require: files of the script's own folder and below it, nothing else.

local discounts = { basic = 0, gold = 10 }

local plans = {}

function plans.discount(plan)
  return discounts[plan] or 0
end

function plans.is_json(headers)
  return (headers:get("Content-Type") or ""):sub(1, 16) == "application/json"
end

return plans
