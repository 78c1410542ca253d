const { serve } = require('turnbuckle');

serve({
  name: 'bench',
  hooks: { SetHeader: { needs: ['nothing'], handle: (x) => x.request.headers.set('X-Bench', '1') } },
});
