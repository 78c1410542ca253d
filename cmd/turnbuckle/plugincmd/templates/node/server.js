'use strict';

const { serve } = require('turnbuckle');

serve(require('./plugin'));
